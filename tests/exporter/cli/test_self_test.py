"""`verify self-test` as a user runs it."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers.run import BIN, call
from helpers.tiny import save

from exporter.fault_injection.split import MEMORY_FOLDER
from exporter.workflows.export import ExportResult


def test_faults_are_detected_and_the_artifact_is_not_changed(
    narrow_artifacts: ExportResult, capfd: pytest.CaptureFixture[str]
) -> None:
    onnx = narrow_artifacts.artifacts[0].path
    before = {path: path.stat().st_mtime_ns for path in onnx.parent.iterdir()}
    done = call(
        "verify",
        "self-test",
        onnx,
        "--only",
        "Softmax",
        "--clean-runs",
        "1",
        "--localize",
        "--json",
        cwd=onnx.parent,
        capture=capfd,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["passed"] is True
    assert found["outcomes"] == {"detected": 2, "below_tolerance": 0, "undetected": 0, "invalid": 0}
    assert [(fault["kind"], fault["where"]) for fault in found["faults"]] == [
        ("softmax added", "logits"),
        ("logarithm of softmax added", "logits"),
    ]
    assert found["inputs"] == ["random", "saturated", "zeros", "video"]
    assert found["clean"]["runs"] == 4 + 2 + 1
    assert found["clean"]["false_positives"] == []
    assert {path: path.stat().st_mtime_ns for path in onnx.parent.iterdir()} == before


def test_errors_are_one_line_and_an_exit_code(
    narrow_artifacts: ExportResult, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    onnx, torchscript = (artifact.path for artifact in narrow_artifacts.artifacts)
    cases: list[tuple[int, str, tuple[object, ...]]] = [
        (2, "faults are injected into ONNX graphs, not into torchscript files", (torchscript,)),
        (2, "--only dragon: no fault type has that in its name", (onnx, "--only", "dragon")),
        (3, "no such", (tmp_path / "none.onnx",)),
        (3, "has no manifest beside or inside it", (save(tmp_path / "foreign.onnx"),)),
    ]
    for code, reported, arguments in cases:
        done = call("verify", "self-test", *arguments, cwd=tmp_path, capture=capfd)
        assert done.returncode == code, done.stderr
        assert reported in done.stderr
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1


def test_wrong_usage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call("verify", "self-test", cwd=tmp_path, capture=capfd).returncode == 2
    done = call("verify", "self-test", "a.onnx", "--clean-runs", "-1", cwd=tmp_path, capture=capfd)
    assert done.returncode == 2


def test_an_interrupted_self_test_leaves_no_files(narrow_artifacts: ExportResult, tmp_path: Path) -> None:
    def folders() -> set[Path]:
        return {path for parent in (MEMORY_FOLDER, tmp_path) for path in parent.glob(".c3d-export-*")}

    before = folders()
    process = subprocess.Popen(
        [str(BIN / "verify"), "self-test", str(narrow_artifacts.artifacts[0].path)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not folders() - before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert not folders() - before
