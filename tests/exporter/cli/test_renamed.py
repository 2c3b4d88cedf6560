"""Names of earlier versions end with an error that states the new name."""

from pathlib import Path

import pytest
from helpers.run import call

RENAMED = {
    "--tune on export": (["c3d-export", "--format", "onnx", "--tune"], "--autotune"),
    "--tune on optimize": (["c3d-export", "optimize", "m.onnx", "--tune"], "--autotune"),
    "--prefer": (["c3d-export", "--format", "onnx", "--prefer", "load"], "--optimize-for"),
    "--weights-as": (["c3d-export", "--format", "onnx", "--weights-as", "fp16"], "--weight-dtype"),
    "--peers": (["c3d-export", "bench", "m.onnx", "--peers"], "--engines"),
    "--peer-python": (["c3d-export", "bench", "m.onnx", "--peer-python", "mnn=python"], "--engine-python"),
    "--plain": (["c3d-export", "bench", "m.onnx", "--plain", "p.onnx"], "--engine-model"),
    "--runtime": (["verify", "parity", "--runtime", "onnxruntime"], "--engine"),
    "--growth": (["verify", "parity", "--growth=3"], "--max-growth"),
    "--sign on export": (["c3d-export", "--format", "onnx", "--sign", "a.key"], "--sign-key"),
    "--sign on optimize": (["c3d-export", "optimize", "m.onnx", "--sign=a.key"], "--sign-key"),
    "checkpoints": (["c3d-export", "checkpoints"], "layouts"),
    "bright pixel": (["verify", "parity", "--inputs", "random,bright pixel"], "'impulse'"),
}


@pytest.mark.parametrize("case", RENAMED)
def test_the_error_states_the_new_name(case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (command, *arguments), new = RENAMED[case]
    done = call(command, *arguments, cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"was renamed; use {new}\n" in done.stderr


def test_export_is_no_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = call("c3d-export", "export", "--format", "onnx", cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stdout) == (2, "")
    assert "c3d-export --format onnx" in done.stderr


@pytest.mark.parametrize("command", ["predict", "features"])
def test_a_video_without_a_model_is_told_the_order(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done = call("c3d-export", command, "video.mp4", cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f": c3d-export {command} MODEL VIDEO\n")


@pytest.mark.parametrize(
    ("words", "instead"),
    [(["convert", "c3d.pth"], "-o c3d.safetensors"), (["sign", "c3d.onnx"], "ARTIFACT --sign-key sign.key")],
)
def test_a_missing_option_is_told_what_to_give(
    words: list[str], instead: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done = call("c3d-export", *words, cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"{instead}\n")
    assert f"c3d-export {words[0]} " in done.stderr.splitlines()[-1]


def test_a_file_that_begins_with_a_dash_is_not_a_mistyped_option(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "-video.mp4").touch()
    done = call("c3d-export", "predict", "c3d.onnx", "-video.mp4", cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("a file of that name is ./-video.mp4\n")


def test_a_command_that_never_had_the_option_suggests_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done = call("c3d-export", "layouts", "--tune", cwd=tmp_path, capture=capfd)
    assert done.returncode == 2
    assert "renamed" not in done.stderr
