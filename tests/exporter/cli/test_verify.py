"""`verify parity` on the command line: exit codes, files, and one line for whatever is wrong."""

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers import small_models
from helpers.run import Done, call
from onnx import numpy_helper

from exporter.workflows.export import ExportResult

Parity = Callable[..., Done]


@pytest.fixture
def parity(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Parity:
    """`verify parity` in a folder with theirs.onnx, the same as mine.onnx, and fault.onnx with a layer off by 0.1 %."""
    small_models.network(tmp_path / "theirs.onnx")
    small_models.network(tmp_path / "mine.onnx", names={"scores": "y"})
    small_models.network(tmp_path / "fault.onnx", change=small_models.scaled("w2", 1.001))
    return lambda *arguments: call("verify", "parity", *arguments, cwd=tmp_path, capture=capfd)


@pytest.fixture(scope="module")
def folder(narrow_artifacts: ExportResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ./artifacts: two artifacts, one of them with a layer scaled by 1 % beside it, and a checkpoint."""
    folder = tmp_path_factory.mktemp("verify") / "artifacts"
    shutil.copytree(narrow_artifacts.artifacts[0].path.parent, folder)
    model = onnx.load(folder / "c3d.onnx")
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "conv4a.weight")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))
    onnx.save(model, folder / "faulty.onnx")
    torch.save({"conv1.weight": torch.zeros(1)}, folder / "checkpoint.pt")
    return folder.parent


def test_every_artifact_is_found_and_a_fault_exits_1(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = call("verify", "parity", "--json", "--inputs", "random,video", cwd=folder, capture=capfd)
    assert (done.returncode, done.stderr) == (1, "")
    output = json.loads(done.stdout)
    passed = {report["artifact"]: report["passed"] for report in output["reports"]}
    assert passed == {"artifacts/c3d.onnx": True, "artifacts/c3d.pt": True, "artifacts/faulty.onnx": False}
    rows = output["reports"][0]["comparisons"]
    assert [(row["input"], row["batch"]) for row in rows] == [("random", 1), ("video", 1), ("random + video", 2)]
    assert all(row["max_error"] <= row["budget"] and row["top1"] in ("same", "tie") for row in rows)
    failed = {row["input"] for row in output["reports"][2]["comparisons"] if not row["passed"]}
    assert {"random", "video"} <= failed


def test_a_changed_artifact_exits_1_before_it_runs(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(folder / "artifacts" / "c3d.onnx.json", tmp_path)
    (tmp_path / "c3d.onnx").write_bytes(b"something else")
    done = call("verify", "parity", "c3d.onnx", cwd=tmp_path, capture=capfd)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: c3d.onnx is not the file that c3d.onnx.json describes")


def test_two_files_without_manifests(parity: Parity) -> None:
    good = parity("mine.onnx", "--against", "theirs.onnx")
    assert (good.returncode, good.stderr) == (0, "")
    assert "parity of mine.onnx in onnxruntime" in good.stdout
    assert "result   passed: " in good.stdout
    bad = parity("fault.onnx", "mine.onnx", "--against", "theirs.onnx", "--localize", "--inputs", "quick")
    assert bad.returncode == 1
    assert "diverges at conv2" in bad.stdout
    assert bad.stdout.count("result   FAILED") == bad.stdout.count("result   passed") == 1


def test_json_has_everything(parity: Parity) -> None:
    done = parity(
        "fault.onnx",
        "--against",
        "theirs.onnx",
        "--localize",
        "--determinism",
        "--samples",
        "2",
        "--seed",
        "3",
        "--json",
    )
    output = json.loads(done.stdout)
    assert (done.returncode, done.stderr, output["passed"]) == (1, "", False)
    (report,) = output["reports"]
    assert report["localization"]["first"] == "conv2"
    assert [row["identical"] for row in report["determinism"]] == [True] * 4
    assert {"budget", "budget_used", "snr_db", "cosine", "top1", "top5"} <= {*report["comparisons"][0]}
    assert sum(row["input"] == "random" for row in report["comparisons"]) == 2
    assert report["hashes"].keys() == {"fault.onnx"}


def test_junit_and_a_baseline_between_releases(parity: Parity, tmp_path: Path) -> None:
    few = ("--against", "theirs.onnx", "--inputs", "uniform,sparse")
    kept = parity("mine.onnx", *few, "--save-baseline", "base.json", "--junit", "parity.xml")
    assert kept.returncode == 0
    assert kept.stdout.splitlines()[-2:] == ["wrote    base.json", "wrote    parity.xml"]
    assert ET.parse(tmp_path / "parity.xml").getroot()[0].attrib["failures"] == "0"
    assert parity("mine.onnx", *few, "--baseline", "base.json").returncode == 0
    loose = ("--rtol", "1", "--atol", "1", "--baseline", "base.json")
    (tmp_path / "mine.onnx").write_bytes((tmp_path / "fault.onnx").read_bytes())
    grown = parity("mine.onnx", "--against", "theirs.onnx", "--inputs", "uniform", *loose)
    assert grown.returncode == 1
    assert "grew since the baseline: uniform, scores, batch 1: error" in grown.stdout
    assert (
        parity("mine.onnx", "--against", "theirs.onnx", "--inputs", "uniform", *loose, "--max-growth", "1e9").returncode
        == 0
    )
    failed = parity("fault.onnx", *few, "--save-baseline", "other.json", "--junit", "parity.xml")
    assert failed.returncode == 1
    assert failed.stderr == "--save-baseline other.json: not written, because parity failed\n"
    assert not (tmp_path / "other.json").exists()
    assert failed.stdout.splitlines()[-1] == "wrote    parity.xml"
    assert int(ET.parse(tmp_path / "parity.xml").getroot()[0].attrib["failures"]) > 0


def test_a_cache_is_used_the_second_time(parity: Parity, tmp_path: Path) -> None:
    first, second = (
        parity("mine.onnx", "--against", "theirs.onnx", "--cache", "kept/here", "--json") for _ in range(2)
    )
    rows = [json.loads(done.stdout)["reports"][0]["comparisons"] for done in (first, second)]
    assert rows[0] == rows[1]
    assert len([*(tmp_path / "kept" / "here").iterdir()]) == 11


WRONG = {
    "no such input type": (
        ("mine.onnx", "--inputs", "noise"),
        2,
        "--inputs noise: ",
    ),
    "a type beside all": (("mine.onnx", "--inputs", "zeros,all"), 2, "'all' stands for several types"),
    "an empty type": (("mine.onnx", "--inputs", "zeros,"), 2, "'zeros,' has an empty name"),
    "text for a number": (("mine.onnx", "--samples", "1e9"), 2, "'1e9' is not a valid integer."),
    "no such engine": (("mine.onnx", "--against", "tflite"), 2, "neither an engine (float64, torch, onnxruntime"),
    "no such device": (("mine.onnx", "--against", "torch:tpu"), 2, "no such device; known are cpu, cuda, tensorrt"),
    "no such file": (("mine.onnx", "--against", "none.onnx"), 3, "no such file: none.onnx"),
    "no model": (("mine.onnx", "--against", "text.onnx"), 3, "not a complete ONNX file"),
    "an engine of another format": (
        ("mine.onnx", "--engine", "torchscript"),
        2,
        "torchscript does not run onnx files",
    ),
    "nothing to compare with": (("mine.onnx",), 3, "there is nothing to compare it with; name its checkpoint"),
    "weights and a file": (("mine.onnx", "--weights", "w.pth"), 2, "with --against FILE, that file is compared"),
    "a malformed shape": (("mine.onnx", "--shape", "x=1,3"), 2, "'x=1,3' is not of the form input=1x3x224x224"),
    "an empty shape": (("mine.onnx", "--shape", "x=0x3"), 2, "is not of the form input="),
    "too many samples": (("mine.onnx", "--samples", "101"), 2, "101 is not in the range 1<=x<=100"),
    "a tolerance of text": (("mine.onnx", "--rtol", "small"), 2, "'small' is not a valid float"),
    "a negative tolerance": (("mine.onnx", "--rtol=-1"), 2, "--rtol and --atol must be finite and not negative"),
    "a growth below one": (
        ("mine.onnx", "--baseline", "none.json", "--max-growth", "0.5"),
        2,
        "--max-growth must be at least 1 and finite (got 0.5)",
    ),
    "a growth of no baseline": (("mine.onnx", "--max-growth", "2"), 2, "--max-growth is an option of --baseline"),
    "no baseline": (("mine.onnx", "--baseline", "none.json"), 3, "no such baseline: none.json"),
    "no baseline inside": (("mine.onnx", "--baseline", "text.onnx"), 3, "--baseline text.onnx: not a baseline"),
    "a report into nowhere": (
        ("mine.onnx", "--junit", "none/p.xml"),
        3,
        "--junit none/p.xml: cannot be written: there is no folder none",
    ),
    "a report onto a folder": (("mine.onnx", "--junit", "."), 3, "--junit .: cannot be written: it is a folder"),
    "a baseline into nowhere": (("mine.onnx", "--save-baseline", "none/b.json"), 3, "there is no folder none"),
    "a cache below a file": (
        ("mine.onnx", "--cache", "text.onnx/x"),
        3,
        "text.onnx: it is a file, not a folder",
    ),
    "arrays that are none": (("mine.onnx", "--array", "text.onnx"), 3, "text.onnx: not an .npz file of arrays"),
    "no arrays": (("mine.onnx", "--array", "none.npz"), 3, "none.npz"),
    "no inputs": (("mine.onnx", "--inputs", "video"), 2, "no inputs: "),
    "no TensorRT": (
        ("mine.onnx", "--device", "tensorrt"),
        4,
        "no TensorrtExecutionProvider; pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]'",
    ),
    "no CUDA": (("mine.onnx", "--against", "onnxruntime:cuda"), 4, "pip install 'onnxruntime-gpu"),
    "no CUDA in torch": (("mine.onnx", "--against", "torch:cuda"), 4, "pip install a CUDA build of torch"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_are_one_line_and_an_exit_code(case: str, parity: Parity, tmp_path: Path) -> None:
    arguments, code, reported = WRONG[case]
    (tmp_path / "text.onnx").write_text("text")
    against = () if "--against" in arguments or case == "nothing to compare with" else ("--against", "theirs.onnx")
    done = parity(*arguments, *against)
    assert (done.returncode, done.stdout) == (code, "")
    assert reported in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert done.stderr.count("\n") == 1 or "Usage:" in done.stderr  # click shows the usage before its own errors


def test_a_model_that_fails_on_its_inputs_is_a_failed_check(parity: Parity, tmp_path: Path) -> None:
    small_models.network(tmp_path / "free.onnx", sizes=("h", "w"))
    done = parity("free.onnx", "--against", "free.onnx", "--shape", "x=1x3x16x16")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: free.onnx: fails on x (1, 3, 16, 16): ")
    assert done.stderr.count("\n") == 1
    np.savez(tmp_path / "wide.npz", x=np.zeros((1, 3, 16, 16)))
    assert parity("free.onnx", "--against", "free.onnx", "--array", "wide.npz").returncode == 1
