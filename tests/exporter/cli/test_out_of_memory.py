"""Out of memory ends every command with exit code 5 and one line; it is no bug and no bad file, and leaves nothing."""

import subprocess
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from helpers import small_models
from helpers.checkpoints import narrow_state
from helpers.run import BIN, call

EXPORT = ("--weights", "narrow.pth", "-o", "out")


def numpy_error(*_: object, **__: object) -> NoReturn:
    np.empty(1 << 50)
    raise AssertionError


def torch_error(*_: object, **__: object) -> NoReturn:
    torch.empty(1 << 50)
    raise AssertionError


def cpp_error(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("Exception during initialization: std::bad_alloc")


@pytest.mark.parametrize(
    ("command", "function", "failure", "step"),
    [
        (("inspect", "narrow.pth"), "models.checkpoints.readers.torch_archive.verified_members", numpy_error, "reading narrow.pth"),
        (("inspect", "m.onnx"), "exporter.workflows.inspect.get_signature", numpy_error, "reading m.onnx"),
        (("convert", "narrow.pth", "-o", "out/c.safetensors"), "models.checkpoints.loading._to_valid_float32", torch_error, "reading the checkpoint"),
        (("--format", "onnx", "--no-verify", *EXPORT), "exporter.formats.onnx.OnnxFormat.candidates", numpy_error, "writing onnx"),
        (("--format", "torchscript", "--no-verify", *EXPORT), "torch.jit.script", torch_error, "writing torchscript"),
        (("--format", "onnx", *EXPORT), "exporter.workflows.export.golden_outputs", torch_error, "building the network"),
        (("optimize", "m.onnx", "-o", "out/o.onnx"), "exporter.passes.cleanup.FoldConstants.rewrite", numpy_error, "pass "),
    ],
)  # fmt: skip
def test_in_any_step(
    command: tuple[str, ...],
    function: str,
    failure: object,
    step: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    torch.save(narrow_state(), tmp_path / "narrow.pth")
    small_models.network(tmp_path / "m.onnx")
    monkeypatch.setattr(function, failure)
    done = call("c3d-export", *command, cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith("Error: ")
    assert f"memory ran out while {step}" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".c3d-export")]


@pytest.mark.parametrize("method", ["__init__", "run"])
def test_an_engine_that_reports_it_is_not_taken_to_reject_the_file(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    small_models.network(tmp_path / "m.onnx")
    monkeypatch.setattr(f"onnxruntime.InferenceSession.{method}", cpp_error)
    arguments = ("verify", "parity", "m.onnx", "--against", "m.onnx", "--inputs", "quick")
    done = call("c3d-export", *arguments, cwd=tmp_path, capture=capfd)
    assert done.returncode == 5
    assert done.stderr.startswith("Error: m.onnx: memory ran out while onnxruntime ")


def test_a_process_that_cannot_import_torch(tmp_path: Path) -> None:
    """Its address space has room for Python, not for torch."""
    torch.save(narrow_state(), tmp_path / "narrow.pth")
    command = f"ulimit -v 300000; exec '{BIN}/c3d-export' inspect narrow.pth"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith("Error: c3d-export inspect narrow.pth: memory ran out while ")
    assert done.stderr.count("\n") == 1
