"""The machine is described on systems without Linux's functions too."""

import importlib.util
import os
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import psutil
import pytest

from exporter import system


def test_the_processor_and_the_cpus_of_this_process() -> None:
    assert system.cpu_model()
    assert system.available_cpus() == len(os.sched_getaffinity(0))


def test_the_instruction_sets_that_every_core_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fma avx2 amx_bf16\nvmx flags\t: ept\n\nflags\t: avx2 fma\n", "utf-8")
    monkeypatch.setattr(system, "CPUINFO", cpuinfo)
    assert system.cpu_features() == {"avx2", "fma"}
    cpuinfo.write_text("Features\t: asimd bf16 i8mm\n", "utf-8")  # Arm
    assert system.cpu_features() == {"asimd", "bf16", "i8mm"}


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="compares torch's answer with the Linux kernel's")
def test_torch_and_the_kernel_name_the_same_instruction_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kernel = system.cpu_features()
    monkeypatch.setattr(system, "CPUINFO", tmp_path / "none")
    compared = {"avx2", "fma", "avx512f", "avx512bw", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8"}
    assert system.cpu_features() & compared == kernel & compared


def test_the_instruction_sets_are_known_where_only_an_engines_library_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.delattr("exporter.__version__")
    spec = importlib.util.spec_from_file_location("alone", system.__file__)
    assert spec is not None
    assert spec.loader is not None
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)
    assert alone.cpu_features() == system.cpu_features()


def test_without_linux_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(system, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr("platform.processor", lambda: "arm")
    assert system.cpu_model() == "arm"


def test_without_an_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(psutil.Process, "cpu_affinity")
    assert system.available_cpus() == psutil.cpu_count()


def test_a_library_has_a_version_under_whatever_distribution_it_came(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    info = tmp_path / "some_library_gpu-1.31.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-library-gpu\nVersion: 1.31.1\n", "utf-8")
    (info / "top_level.txt").write_text("some_library\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert system.library_version("some-library") == "1.31.1"
    assert system.library_version("numpy") == np.__version__
    with pytest.raises(PackageNotFoundError):
        system.library_version("no-such-library")


def test_the_environment_names_tool_python_libraries_and_processor() -> None:
    found = system.environment()
    assert found.keys() >= {"c3d-export", "Python", "torch", "onnx", "onnxruntime", "numpy", "system", "processor"}
