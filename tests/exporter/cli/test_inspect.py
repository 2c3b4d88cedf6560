"""`c3d-export inspect` as a user runs it."""

import json
import re
import shutil
from pathlib import Path

import pytest
from helpers.run import call

from exporter.workflows.export import ExportResult


def test_inspect(narrow_artifacts: ExportResult, capfd: pytest.CaptureFixture[str]) -> None:
    folder = narrow_artifacts.artifacts[0].path.parent
    done = call("c3d-export", "inspect", "c3d.onnx", cwd=folder, capture=capfd)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"(?m)^type +ONNX model$", done.stdout)
    assert "this is the file that the manifest beside it describes" in done.stdout
    done = call("c3d-export", "inspect", "c3d.pt", "--json", cwd=folder, capture=capfd)
    assert json.loads(done.stdout)["manifest"]["format"] == "torchscript"


def test_a_changed_artifact_exits_1(
    narrow_artifacts: ExportResult, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = narrow_artifacts.artifacts[0].path
    (tmp_path / path.name).write_bytes(path.read_bytes() + b"\x0a\x00")
    shutil.copy(path.with_name("c3d.onnx.json"), tmp_path)
    assert call("c3d-export", "inspect", "c3d.onnx", cwd=tmp_path, capture=capfd).returncode == 1
