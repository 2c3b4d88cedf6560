"""`c3d-export` as a user runs it: what it prints, where, and with which exit code."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from helpers import origins
from helpers.checkpoints import narrow_state
from helpers.exported import ExportedByCommand
from helpers.run import BIN, call, run

CAFFE = {"conv1": "conv1a", "conv2": "conv2a"}


def test_the_main_job(exported: ExportedByCommand) -> None:
    assert (exported.code, exported.stderr) == (0, "")
    assert exported.stdout.count("result   passed") == 2
    assert "the weights are random, from seed 0" in exported.stdout
    assert "wrote    artifacts/c3d.onnx  313.6 MB" in exported.stdout
    names = {path.name for path in exported.onnx.parent.iterdir()}
    assert names == {"c3d.onnx", "c3d.onnx.json", "c3d.pt", "c3d.pt.json"}
    printed = exported.stdout.replace(torch.__version__, "2.13.0+cpu")  # a CUDA build's version is longer
    printed = re.sub(r"\d+\.\d s", "10.0 s", printed)  # a loaded machine takes more digits
    assert max(map(len, printed.splitlines())) <= 120


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")
def test_a_checkpoint_of_another_implementation_loads_and_exports(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state = {f"module.{name}": value for name, value in narrow_state(12).items()}
    (tmp_path / "runs").mkdir()
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "runs" / "best.pth.tar")
    done = call(
        "c3d-export",
        "--format",
        "torchscript",
        "--weights",
        "runs/best.pth.tar",
        "--pool5",
        "right",
        "--no-verify",
        "--json",
        "--name",
        "mine",
        cwd=tmp_path,
        capture=capfd,
    )
    assert (done.returncode, done.stderr) == (0, "")
    output = json.loads(done.stdout)
    assert output["network"] == "C3D, 12 classes, pool5 right, 2 base channels"
    manifest = output["artifacts"][0]["manifest"]
    checkpoint, network = manifest["checkpoint"], manifest["network"]
    assert checkpoint["path"] == "../runs/best.pth.tar"
    assert (checkpoint["loaded"], checkpoint["total"]) == (22, 22)
    assert network["setting_sources"]["pool5"] == "option"
    inside = torch.jit.load(str(tmp_path / "artifacts" / "mine.pt"))  # pyright: ignore
    with torch.inference_mode():
        assert inside(torch.zeros(1, 3, 16, 112, 112)).shape == (1, 12)


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")
def test_a_backbone_without_fc8_returns_features(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    layers = {name: f"{CAFFE.get(name, name)}.conv" for name in origins.CONVOLUTIONS}
    state = {name: value for name, value in narrow_state().items() if not name.startswith("fc8")}
    torch.save(origins.renamed(layers, (".weight", ".bias"), state), tmp_path / "c3d_sports1m_pretrain.pth")
    command = ("c3d-export", "--format", "torchscript", "--weights", "c3d_sports1m_pretrain.pth", "--no-verify")
    done = call(*command, "--pool5", "right", cwd=tmp_path, capture=capfd)
    assert "note     artifacts is a new folder\n" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    assert "C3D, features only (no fc8), pool5 right" in done.stdout
    manifest = json.loads((tmp_path / "artifacts" / "c3d.pt.json").read_text())
    assert manifest["checkpoint"]["layout"] == "mmaction2"
    assert manifest["network"]["settings"]["pool5"] == "right"
    assert manifest["network"]["setting_sources"]["pool5"] == "option"
    assert manifest["preprocessing"]["name"] == "mmaction2"
    assert [output["name"] for output in manifest["signature"]["outputs"]] == ["fc7"]
    inside = torch.jit.load(str(tmp_path / "artifacts" / "c3d.pt"))  # pyright: ignore
    with torch.inference_mode():
        assert inside(torch.zeros(1, 3, 16, 112, 112)).shape == (1, 4)
    scores = call(*command, "--outputs", "probabilities", cwd=tmp_path, capture=capfd)
    assert scores.returncode == 2
    assert "has no output probabilities" in scores.stderr


USAGE = {
    "no format": (["--seed", "1"], "choose a format: --format onnx or --format torchscript"),
    "unknown format": (["--format", "tflite"], "'tflite' is not one of 'onnx', 'torchscript'"),
    "a path as a name": (["--format", "onnx", "--name", "a/b"], "plain file name"),
    "dots as a name": (["--format", "onnx", "--name", ".."], "plain file name"),
    "no classes": (["--format", "onnx", "--num-classes", "0"], "--num-classes must be between 1 and 100000 (got 0)"),
    "no batch": (["--format", "onnx", "--batch", "0"], "--batch must be 'dynamic' or at least 1 (got 0)"),
    "a batch too large": (["--format", "onnx", "--batch", "1000000000"], "--batch must be at most 65,536"),
    "a clip too large": (["--format", "onnx", "--input-size", "3x1000000x9x9"], "each number must be from 1 to 999999"),
    "a clip of nothing": (["--format", "onnx", "--input-size", "3x0x9x9"], "each number must be from 1 to 999999"),
    "the opset of TorchScript": (["--format", "torchscript", "--opset", "17"], "--opset is an option of --format onnx"),
    "text as batch": (["--format", "onnx", "--batch", "many"], "'many' is neither 'dynamic'"),
    "unknown output": (["--format", "onnx", "--outputs", "logits,fc9"], "'fc9' is not one of logits, fc6"),
    "an output twice": (["--format", "onnx", "--outputs", "fc6,fc6"], "name each output once"),
    "a format twice": (["--format", "onnx", "--format", "onnx"], "name each format once"),
    "old opset": (["--format", "onnx", "--opset", "7"], "--opset must be between"),
    "data of TorchScript": (
        ["--format", "torchscript", "--external-data"],
        "--external-data is an option of --format onnx",
    ),
    "a head of nothing": (["--format", "onnx", "--new-head"], "--new-head is an option of --weights"),
    "options before a command": (["--seed", "1", "inspect", "x"], "put options of inspect after its name: --seed"),
    "json before a command": (["--format", "onnx", "--debug", "inspect", "x"], "after its name: --format"),
    "a seed too large": (["--format", "onnx", "--seed", "9" * 20], "is not a whole number from 0 to 2**63 - 1"),
    "unknown layout": (["--format", "onnx", "--weights", "w.pth", "--layout", "caffee"], "known are auto, identity"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_exits_2(case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments, reported = USAGE[case]
    done = call("c3d-export", *arguments, cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stdout) == (2, "")
    assert reported in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_export_never_replaces_its_own_checkpoint(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c3d.pt").write_bytes(b"weights")
    arguments = ("--format", "torchscript", "--weights", "c3d.pt", "--output-dir", ".")
    done = call("c3d-export", *arguments, cwd=tmp_path, capture=capfd)
    assert done.returncode == 2
    assert "c3d.pt is the checkpoint itself" in done.stderr
    assert (tmp_path / "c3d.pt").read_bytes() == b"weights"


@pytest.mark.parametrize(("number", "code", "wait"), [(signal.SIGINT, 130, 0), (signal.SIGTERM, 143, 1.0)])
def test_an_interrupted_export_leaves_no_files(number: signal.Signals, code: int, wait: float, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [str(BIN / "c3d-export"), "--format", "onnx", "--no-verify"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("artifacts/.c3d-export-*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(wait)
    os.kill(process.pid, number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert stderr == f"stopped by {number.name}; no incomplete files are left\n"
    assert list(tmp_path.iterdir()) == []  # the folder was not there before


@pytest.mark.parametrize("arguments", [["--help"], ["verify", "parity", "--help"], ["inspect", "--help"], []])
def test_help(arguments: list[str], tmp_path: Path) -> None:
    done = run("c3d-export", *arguments, cwd=tmp_path)
    text = done.stdout + done.stderr
    assert "Examples:" in text
    assert "Options:" in text


def test_version(tmp_path: Path) -> None:
    assert run("c3d-export", "--version", cwd=tmp_path).stdout == "c3d-export, version 0.1.0\n"
    assert run("verify", "--version", cwd=tmp_path).stdout == "verify, version 0.1.0\n"
