"""The machine is described on systems without Linux's functions too."""

import os
from pathlib import Path

import psutil
import pytest

from exporter import system


def test_the_processor_and_the_cpus_of_this_process() -> None:
    assert system.cpu_model()
    assert system.available_cpus() == len(os.sched_getaffinity(0))


def test_without_linux_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(system, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr("platform.processor", lambda: "arm")
    assert system.cpu_model() == "arm"


def test_without_an_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(psutil.Process, "cpu_affinity")
    assert system.available_cpus() == psutil.cpu_count()


def test_the_environment_names_tool_python_libraries_and_processor() -> None:
    found = system.environment()
    assert found.keys() >= {"c3d-export", "Python", "torch", "onnx", "onnxruntime", "numpy", "system", "processor"}
