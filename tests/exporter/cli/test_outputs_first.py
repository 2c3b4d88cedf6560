"""Every command that writes looks at what it is to write before its work: even before it looks for its input."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from helpers import tiny
from helpers.run import call

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "--output-dir": ("c3d-export", "--format", "onnx", "--weights", "none.pth", "--output-dir"),
    "-o": ("c3d-export", "optimize", "chain.onnx", "-o"),
    "--output": ("c3d-export", "convert", "none.pth", "--output"),
    "--csv": ("c3d-export", "predict", "none.onnx", "none.mp4", "--csv"),
    "--html": ("c3d-export", "predict", "none.onnx", "none.mp4", "--html"),
    "features": ("c3d-export", "features", "none.onnx", "none.mp4", "--output"),
    "triton": ("c3d-export", "triton", "none.onnx", "--output-dir"),
    "bench": ("c3d-export", "bench", "none.onnx", "--html"),
    "--work-dir": ("c3d-export", "bench", "--all", "--weights", "none.pth", "--calibrate", "none.mp4", "--work-dir"),
    "--junit": ("verify", "parity", "none.onnx", "--junit"),
    "verify": ("verify", "parity", "none.onnx", "--html"),
    "--save-baseline": ("verify", "parity", "none.onnx", "--save-baseline"),
    "--cache": ("verify", "parity", "none.onnx", "--cache"),
}
NAMES = {"-o": "c3d.onnx", "--output": "c3d.safetensors"}
"""File names that an option wants; others may have any."""


@pytest.mark.parametrize("case", COMMANDS)
@pytest.mark.parametrize("parent", ["file", "/proc"])
def test_an_output_that_cannot_be_written(
    case: str, parent: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    tiny.save(tmp_path / "chain.onnx")
    before = sorted(tmp_path.iterdir())
    *command, option = COMMANDS[case]
    done = call(*command, option, f"{parent}/{NAMES.get(case, 'out')}", cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert done.stderr.startswith(f"Error: {option} {parent}")
    assert "cannot be written" in done.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("c3d-export", "predict", "c3d.onnx", "bikes.mp4", "--csv", "bikes.mp4"),
        ("c3d-export", "predict", "c3d.onnx", "bikes.mp4", "--html", "c3d.onnx"),
        ("c3d-export", "bench", "c3d.onnx", "--html", "c3d.onnx"),
        ("verify", "parity", "c3d.onnx", "--junit", "c3d.onnx.json"),
        ("verify", "parity", "c3d.onnx", "--against", "bikes.mp4", "--save-baseline", "bikes.mp4"),
        ("verify", "parity", "c3d.onnx", "--junit", "report", "--html", "./report"),
    ],
)
def test_an_output_that_would_overwrite_an_input(
    arguments: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("c3d.onnx", "c3d.onnx.json", "bikes.mp4"):
        (tmp_path / name).write_text("precious")
    done = call(*arguments, cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert {path.read_text() for path in tmp_path.iterdir()} == {"precious"}
