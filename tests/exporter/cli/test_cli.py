"""The commands as a user runs them: what they print, where, and with which exit code."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import ExportedByCommand
from helpers import origins, small_models
from helpers.checkpoints import constant_state
from helpers.manifests import MANIFEST
from helpers.run import BIN, call, run
from onnx import numpy_helper

from exporter.artifacts.manifest import file_entry

CAFFE = {"conv1": "conv1a", "conv2": "conv2a"}


def test_the_main_job(exported: ExportedByCommand) -> None:
    assert (exported.code, exported.stderr) == (0, "")
    assert exported.stdout.count("result   passed") == 2
    assert "the weights are random, from seed 0" in exported.stdout
    assert "wrote    artifacts/c3d.onnx  313.6 MB" in exported.stdout
    names = {path.name for path in exported.onnx.parent.iterdir()}
    assert names == {"c3d.onnx", "c3d.onnx.json", "c3d.pt", "c3d.pt.json"}
    assert max(map(len, exported.stdout.splitlines())) <= 120


@pytest.fixture(scope="module")
def judged(exported: ExportedByCommand, golden_cache: Path) -> Iterator[subprocess.CompletedProcess[str]]:
    """`verify parity` in a folder with the two sound artifacts and one with a layer scaled by 1 %."""
    model = onnx.load(exported.onnx)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "conv4a.weight")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))
    faulty = exported.onnx.with_name("faulty.onnx")
    onnx.save(model, faulty)
    checkpoint = exported.onnx.with_name("checkpoint.pt")
    torch.save({"conv1.weight": torch.zeros(1)}, checkpoint)
    few = ("--inputs", "random,video", "--cache", golden_cache)
    yield run("verify", "parity", "--json", *few, cwd=exported.folder)
    faulty.unlink()
    checkpoint.unlink()


def test_verify_parity_finds_every_artifact_and_answers_json(judged: subprocess.CompletedProcess[str]) -> None:
    assert judged.stderr == ""
    answer = json.loads(judged.stdout)
    verdicts = {report["artifact"]: report["passed"] for report in answer["reports"]}
    assert verdicts == {"artifacts/c3d.onnx": True, "artifacts/c3d.pt": True, "artifacts/faulty.onnx": False}
    rows = answer["reports"][0]["comparisons"]
    assert [(row["input"], row["batch"]) for row in rows] == [("random", 1), ("video", 1), ("random + video", 2)]
    assert all(row["max_error"] <= row["budget"] and row["top1"] in ("same", "tie") for row in rows)


def test_a_planted_fault_makes_verify_parity_exit_1(judged: subprocess.CompletedProcess[str]) -> None:
    assert judged.returncode == 1
    answer = json.loads(judged.stdout)
    assert answer["passed"] is False
    failed = [row["input"] for row in answer["reports"][2]["comparisons"] if not row["passed"]]
    assert {"random", "video"} <= set(failed)


def test_a_changed_artifact_exits_1_before_it_runs(
    exported: ExportedByCommand, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c3d.onnx.json").write_bytes(exported.onnx.with_name("c3d.onnx.json").read_bytes())
    (tmp_path / "c3d.onnx").write_bytes(b"something else")
    done = call("verify", "parity", "c3d.onnx", cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: c3d.onnx is not the file that c3d.onnx.json describes")


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")
def test_a_checkpoint_of_another_implementation_loads_and_exports(tmp_path: Path) -> None:
    state = {f"module.{name}": value for name, value in constant_state(12).items()}
    (tmp_path / "runs").mkdir()
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "runs" / "best.pth.tar")
    done = run(
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
    )
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert answer["network"] == "C3D, 12 classes, pool5 right"
    manifest = answer["artifacts"][0]["manifest"]
    checkpoint, network = manifest["checkpoint"], manifest["network"]
    assert checkpoint["path"] == "../runs/best.pth.tar"
    assert (checkpoint["loaded"], checkpoint["total"]) == (22, 22)
    assert network["setting_sources"]["pool5"] == "option"
    inside = torch.jit.load(str(tmp_path / "artifacts" / "mine.pt"))  # pyright: ignore
    with torch.inference_mode():
        assert inside(torch.zeros(1, 3, 16, 112, 112)).shape == (1, 12)


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")
def test_a_backbone_without_fc8_needs_no_flag_and_answers_features(tmp_path: Path) -> None:
    layers = {name: f"{CAFFE.get(name, name)}.conv" for name in origins.CONVOLUTIONS}
    state = {name: value for name, value in constant_state().items() if not name.startswith("fc8")}
    torch.save(origins.renamed(layers, (".weight", ".bias"), state), tmp_path / "c3d_sports1m_pretrain.pth")
    command = ("c3d-export", "--format", "torchscript", "--weights", "c3d_sports1m_pretrain.pth", "--no-verify")
    done = run(*command, "--pool5", "right", cwd=tmp_path)
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
        assert inside(torch.zeros(1, 3, 16, 112, 112)).shape == (1, 4096)
    scores = run(*command, "--outputs", "probabilities", cwd=tmp_path)
    assert scores.returncode == 2
    assert "has no output probabilities" in scores.stderr


USAGE = {
    "no format": (["--seed", "1"], "choose a format: --format onnx or --format torchscript"),
    "unknown format": (["--format", "tflite"], "'tflite' is not one of 'onnx', 'torchscript'"),
    "a path as a name": (["--format", "onnx", "--name", "a/b"], "plain file name"),
    "dots as a name": (["--format", "onnx", "--name", ".."], "plain file name"),
    "no classes": (["--format", "onnx", "--num-classes", "0"], "--num-classes must be between 1 and 100000 (got 0)"),
    "no batch": (["--format", "onnx", "--batch", "0"], "--batch must be 'dynamic' or at least 1 (got 0)"),
    "a word as batch": (["--format", "onnx", "--batch", "many"], "'many' is neither 'dynamic' nor a whole number"),
    "unknown output": (["--format", "onnx", "--outputs", "logits,fc9"], "'fc9' is not one of logits, fc6"),
    "an output twice": (["--format", "onnx", "--outputs", "fc6,fc6"], "name each output once"),
    "a format twice": (["--format", "onnx", "--format", "onnx"], "name each format once"),
    "old opset": (["--format", "onnx", "--opset", "7"], "--opset must be between 18 and 28 (got 7)"),
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


BAD = {
    "missing weights": (["--format", "onnx", "--weights", "none.pth"], 3, "no such checkpoint: none.pth"),
    "output is a file": (
        ["--format", "onnx", "--no-verify", "--output-dir", "file"],
        3,
        "cannot write to file: File exists",
    ),
    "output below a file": (["--format", "onnx", "--no-verify", "--output-dir", "file/x"], 3, "Not a directory"),
    "no cuda": (["--format", "onnx", "--device", "cuda"], 4, "pip install onnxruntime-gpu"),
    "nothing to inspect": (["inspect", "none"], 3, "no such file: none"),
    "nothing to verify": (
        ["verify", "parity"],
        3,
        "no artifacts in ./artifacts; make one with c3d-export --format onnx",
    ),
    "a name with a bell": (["inspect", "a\abc"], 3, "no such file: a\\x07bc"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_and_missing_devices_are_one_line(
    case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, code, reported = BAD[case]
    (tmp_path / "file").write_text("in the way")
    done = call("c3d-export", *arguments, cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stdout) == (code, "")
    assert reported in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "in the way"


def test_an_export_never_replaces_its_own_checkpoint(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c3d.pt").write_bytes(b"weights")
    arguments = ("--format", "torchscript", "--weights", "c3d.pt", "--output-dir", ".")
    done = call("c3d-export", *arguments, cwd=tmp_path, capture=capfd)
    assert done.returncode == 2
    assert "c3d.pt is the checkpoint itself" in done.stderr
    assert (tmp_path / "c3d.pt").read_bytes() == b"weights"


def test_errors_for_machines(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = call("c3d-export", "inspect", "none", "--json", cwd=tmp_path, capture=capfd)
    assert json.loads(done.stdout) == {
        "error": {"kind": "ArtifactError", "message": "no such file: none", "exit_code": 3}
    }
    assert done.returncode == 3
    usage = call("c3d-export", "--json", "--format", "tflite", cwd=tmp_path, capture=capfd)
    assert json.loads(usage.stdout)["error"]["exit_code"] == 2


def test_debug_shows_the_traceback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "Traceback" in call("c3d-export", "inspect", "none", "--debug", cwd=tmp_path, capture=capfd).stderr
    assert "Traceback" not in call("c3d-export", "inspect", "none", cwd=tmp_path, capture=capfd).stderr


def test_inspect(exported: ExportedByCommand, capfd: pytest.CaptureFixture[str]) -> None:
    done = call("c3d-export", "inspect", "artifacts/c3d.onnx", cwd=exported.folder, capture=capfd)
    assert (done.returncode, done.stderr) == (0, "")
    assert "type              ONNX model" in done.stdout
    assert "integrity         this is the file that the manifest beside it describes" in done.stdout
    machine = call("c3d-export", "inspect", "artifacts/c3d.pt", "--json", cwd=exported.folder, capture=capfd)
    assert json.loads(machine.stdout)["manifest"]["format"] == "torchscript"


def piped(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`c3d-export …` whose reader goes away at once; what is printed is its exit code."""
    command = f"'{BIN}/c3d-export' {line} | true; echo ${{PIPESTATUS[0]}}"
    return subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("option", "code"), [("--json", "1"), ("", "0")])
def test_a_reader_that_goes_away_hides_no_verdict_and_is_no_error(option: str, code: str, tmp_path: Path) -> None:
    model = small_models.network(tmp_path / "m.onnx")
    if code == "1":
        (tmp_path / "m.onnx.json").write_text(replace(MANIFEST, name="m", files=(file_entry(model),)).to_json())
        model.write_bytes(model.read_bytes() + b"\x0a\x00")
    done = piped(f"inspect m.onnx {option}", tmp_path)
    assert (done.stdout, done.stderr) == (f"{code}\n", "")


@pytest.mark.parametrize(
    ("number", "code", "wait"), [(signal.SIGINT, 130, 0), (signal.SIGINT, 130, 1.5), (signal.SIGTERM, 143, 0.5)]
)
def test_an_interrupted_export_leaves_nothing(number: signal.Signals, code: int, wait: float, tmp_path: Path) -> None:
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
    assert list((tmp_path / "artifacts").iterdir()) == []


@pytest.mark.parametrize("arguments", [["--help"], ["verify", "parity", "--help"], ["inspect", "--help"], []])
def test_help(arguments: list[str], tmp_path: Path) -> None:
    done = run("c3d-export", *arguments, cwd=tmp_path)
    text = done.stdout + done.stderr
    assert "Examples:" in text
    assert "Options:" in text


def test_version(tmp_path: Path) -> None:
    assert run("c3d-export", "--version", cwd=tmp_path).stdout == "c3d-export, version 0.1.0\n"
