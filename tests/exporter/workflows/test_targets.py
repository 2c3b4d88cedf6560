"""What `verify` checks: named files, the artifacts in folders, and those of ./artifacts."""

from pathlib import Path

import pytest
import torch

from exporter.errors import ArtifactError, C3DExportError
from exporter.workflows.targets import find_artifacts, find_targets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.onnx", "a.onnx", "notes.txt", "a.onnx.json", "gone.onnx.json", "junit.xml", ".json", "..json"):
        (tmp_path / name).touch()
    torch.save({}, tmp_path / "checkpoint.pt")
    (tmp_path / "none").mkdir()
    return tmp_path


def test_the_artifacts_of_a_folder(folder: Path) -> None:
    assert [path.name for path in find_artifacts(folder)] == ["a.onnx", "b.onnx"]
    assert [path.name for path in find_artifacts(folder, missing=True)] == ["a.onnx", "b.onnx", "gone.onnx"]


def test_a_folder_stands_for_its_artifacts_among_files(folder: Path) -> None:
    named = (Path("x.onnx"), folder)
    assert find_targets(named) == (Path("x.onnx"), folder / "a.onnx", folder / "b.onnx")


@pytest.mark.parametrize("missing", [True, False])
def test_a_folder_without_any(missing: bool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match=f"no artifacts in {folder}/none; make one with c3d-export --format onnx"):
        find_targets((folder / "none",), missing=missing)
    refused: list[C3DExportError] = []
    assert find_targets((folder / "none", Path("x.onnx")), refused.append, missing=missing) == (Path("x.onnx"),)
    assert [type(error) for error in refused] == [ArtifactError]
    with pytest.raises(ArtifactError, match="no artifacts"):  # the only one named
        find_targets((folder / "none",), refused.append, missing=missing)
    monkeypatch.chdir(folder / "none")
    with pytest.raises(ArtifactError, match=r"no artifacts in \./artifacts"):
        find_targets((), missing=missing)
