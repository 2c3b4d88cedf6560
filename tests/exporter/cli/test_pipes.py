"""A file that a user names is refused at once where it is a pipe, which would be waited for, or an endless device."""

import os
from pathlib import Path

import pytest
from helpers import small_models
from helpers.run import call

COMMANDS = {
    "mean": ("c3d-export", "--format", "onnx", "--preprocess", "davidea", "--mean", "PIPE.npy"),
    "profile": ("c3d-export", "--format", "onnx", "--preprocess", "PIPE.json"),
    "decisions": ("c3d-export", "optimize", "model.onnx", "--decisions", "PIPE.onnx"),
    "engine model": ("c3d-export", "bench", "model.onnx", "--engines", "--engine-model", "PIPE.onnx"),
    "array": ("c3d-export", "bench", "model.onnx", "--array", "PIPE.npz"),
    "feed": ("c3d-export", "bench", "model.onnx", "--feed", "x=PIPE.npy"),
    "reference": ("verify", "parity", "model.onnx", "--against", "PIPE.onnx"),
    "baseline": ("verify", "parity", "model.onnx", "--against", "model.onnx", "--baseline", "PIPE.json"),
    "signing key": ("c3d-export", "--format", "onnx", "--sign-key", "PIPE"),
    "weights": ("c3d-export", "convert", "PIPE.pth", "-o", "x.safetensors"),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_pipe_or_a_device_is_refused(
    command: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small_models.network(tmp_path / "model.onnx")
    name = next(part.rpartition("=")[2] for part in command if "PIPE" in part)
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        make(tmp_path / name)
        done = call(command[0], *command[1:], cwd=tmp_path, capture=capfd)
        assert done.returncode == 3
        assert f"not a file: {name}" in done.stderr
        (tmp_path / name).unlink()


def test_values_for_an_input_that_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small_models.network(tmp_path / "model.onnx")
    (tmp_path / "a.npy").touch()
    done = call("c3d-export", "bench", "model.onnx", "--feed", "nothing=a.npy", cwd=tmp_path, capture=capfd)
    assert done.returncode == 2
    assert "--feed nothing: no such input" in done.stderr
