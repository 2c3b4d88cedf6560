"""`c3d-export optimize` as a user runs it."""

from pathlib import Path

import pytest
from helpers.optimizing import saved, unet
from helpers.run import call


def test_the_command_explains_and_prints_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    saved(unet(), tmp_path / "unet.onnx")
    done = call("c3d-export", "optimize", "unet.onnx", "--explain", "--no-measure", cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("a.node", "BatchNormalization", "folded", "predicted", "measured", "passed", "unet.optimized.onnx"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_the_command_refuses_a_bad_file_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    bad = call("c3d-export", "optimize", "text.onnx", cwd=tmp_path, capture=capfd)
    assert (bad.returncode, bad.stdout) == (3, "")
    assert bad.stderr.startswith("Error: text.onnx: not a complete ONNX file (truncated, or another file format)")
    assert bad.stderr.count("\n") == 1
