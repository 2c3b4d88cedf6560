"""AOTInductor packages as an engine: what one was compiled for is compared with this machine before it is loaded."""

import json
import os
import platform
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.code_files import own

from exporter.engines.aoti import AotiRuntime
from exporter.engines.aoti_metadata import CPU_FEATURES, read_metadata, require_processor
from exporter.engines.base import RuntimeOptions
from exporter.errors import ArtifactError, UnavailableError, UsageError
from exporter.system import cpu_features
from models.specs import Signature, TensorSpec


def package(path: Path, metadata: object) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data/aotinductor/model/c.wrapper_metadata.json", json.dumps(metadata))
    return own(path)


def test_another_processors_package_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.engines.aoti.load_package", None)
    needed = {"avx1024", *cpu_features()}
    path = package(tmp_path / "m.aoti.pt2", {CPU_FEATURES: " ".join(needed)})
    with pytest.raises(UnavailableError, match="m.aoti.pt2: was compiled for a processor with avx1024,") as caught:
        AotiRuntime(path, RuntimeOptions()).load()
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


def test_loading_compiles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch._inductor.aoti_load_package` starts the C++ compiler, which need not be here."""
    loaded: list[str] = []

    def start(*arguments: object, **_: object) -> None:
        raise AssertionError(f"starts a process: {arguments}")

    monkeypatch.setattr("subprocess.Popen.__init__", start)
    monkeypatch.setattr("torch._C._aoti.AOTIModelPackageLoader", lambda path, *_: loaded.append(path))
    options = RuntimeOptions(signature=Signature((), ()))
    AotiRuntime(package(tmp_path / "m.aoti.pt2", {"AOTI_DEVICE_KEY": "cpu"}), options).load()
    assert len(loaded) == 1


def test_what_torch_unpacks_is_in_a_folder_that_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch removes `/tmp/aotinductor_…` where the process ends by itself only: not at a signal."""
    folders: list[Path] = []

    def load(path: str, *_: object) -> None:
        folders.append(Path(os.environ["TMPDIR"]))
        assert folders[-1] == Path(path).parent
        (folders[-1] / "aotinductor_1").mkdir()

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("torch._C._aoti.AOTIModelPackageLoader", load)
    runtime = AotiRuntime(package(tmp_path / "m.aoti.pt2", {}), RuntimeOptions(signature=Signature((), ())))
    runtime.load()
    assert os.environ["TMPDIR"] == str(tmp_path)
    assert [folder.exists() for folder in folders] == [False]
    assert not [*tmp_path.glob("aotinductor_*")]


def test_many_missing_instruction_sets_are_counted(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="with x1, x2, x3, x4 and 2 more, which"):
        require_processor(tmp_path, {CPU_FEATURES: "x1 x2 x3 x4 x5 x6"})


def test_another_systems_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=f"compiled for linux s390x, and this is .*{platform.machine()}"):
        require_processor(tmp_path, {"AOTI_PLATFORM": "linux", "AOTI_MACHINE": "s390x"})
    require_processor(tmp_path, {"AOTI_PLATFORM": platform.system().lower(), "AOTI_MACHINE": platform.machine()})


def test_an_axis_of_length_1_has_the_stride_that_the_code_compares(tmp_path: Path) -> None:
    spec = TensorSpec("x", "float32", ("batch", 3, 4))
    runtime = AotiRuntime(tmp_path / "m.aoti.pt2", RuntimeOptions(signature=Signature((spec,), (spec,))))
    given: list[torch.Tensor] = []
    runtime._compiled = lambda x: given.append(x) or x  # pyright: ignore[reportPrivateUsage]
    runtime._output_names = ("x",)  # pyright: ignore[reportPrivateUsage]
    one = np.arange(12, dtype=np.float32).reshape(3, 4)[np.newaxis]
    assert one.strides[0] == 0
    assert np.array_equal(runtime.run({"x": one})["x"], one)
    assert given[0].stride() == (12, 4, 1)


def test_compiled_code_has_no_intermediate_values(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="m.aoti.pt2 is compiled code"):
        AotiRuntime(tmp_path / "m.aoti.pt2", RuntimeOptions(all_outputs=True)).load()


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.aoti.pt2").write_bytes(b"text")
    with pytest.raises(ArtifactError, match="not a whole AOTInductor package"):
        read_metadata(tmp_path / "text.aoti.pt2")
    with zipfile.ZipFile(tmp_path / "zip.aoti.pt2", "w") as archive:
        archive.writestr("archive/models/model.json", "{}")
    with pytest.raises(ArtifactError, match="wrapper_metadata.json is missing"):
        read_metadata(tmp_path / "zip.aoti.pt2")
    with pytest.raises(ArtifactError, match="its metadata is not a JSON object"):
        read_metadata(package(tmp_path / "list.aoti.pt2", [1]))
    with pytest.raises(ArtifactError, match="torch rejects it"):
        AotiRuntime(package(tmp_path / "empty.aoti.pt2", {}), RuntimeOptions()).load()
