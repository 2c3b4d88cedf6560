"""`verify self-test` as a user runs it."""

import json
from functools import partial
from pathlib import Path

import pytest
from conftest import ExportedByCommand
from helpers.run import call
from helpers.tiny import save

from exporter.fault_injection import runner
from exporter.parity.golden import GoldenOutputs


def test_some_faults_planted_in_the_artifact_are_caught(
    exported: ExportedByCommand, golden_cache: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "GoldenOutputs", partial(GoldenOutputs, cache=golden_cache))
    before = {path: path.stat().st_mtime_ns for path in exported.onnx.parent.iterdir()}
    done = call(
        "verify",
        "self-test",
        exported.onnx,
        "--only",
        "softmax",
        "--clean-runs",
        "1",
        "--localize",
        "--json",
        cwd=exported.folder,
        capture=capfd,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["passed"] is True
    assert found["outcomes"] == {"caught": 2, "below": 0, "missed": 0, "refused": 0}
    assert [(fault["kind"], fault["where"]) for fault in found["faults"]] == [
        ("softmax added", "logits"),
        ("logarithm of softmax added", "logits"),
    ]
    assert found["inputs"] == ["random", "saturated", "zeros", "video"]
    assert found["clean"]["runs"] == 4 + 2 + 1
    assert found["clean"]["false_positives"] == []
    assert {path: path.stat().st_mtime_ns for path in exported.onnx.parent.iterdir()} == before


def test_what_cannot_be_tested_is_told_in_a_line(
    exported: ExportedByCommand, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cases: list[tuple[int, str, tuple[object, ...]]] = [
        (2, "faults are planted in ONNX graphs, and this is a torchscript file", (exported.torchscript,)),
        (2, "--only dragon: no kind of fault has that in its name", (exported.onnx, "--only", "dragon")),
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
