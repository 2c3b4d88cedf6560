"""`bench` as a user runs it."""

import json
import shutil
from pathlib import Path

import pytest
from helpers.run import call, run
from helpers.small_models import convolution

from exporter.bench import roofline, rounds, runner
from exporter.bench.roofline import Product
from exporter.errors import OutputError
from exporter.reports import html
from exporter.workflows.export import ExportResult


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    convolution(folder / "m.onnx")
    (folder / "damaged.onnx").write_bytes((folder / "m.onnx").read_bytes()[:100])
    return folder


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements that take no time and are worth nothing."""
    monkeypatch.setattr(roofline, "SIZES", (256,))
    monkeypatch.setattr(roofline, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(rounds, "MIN_ROUND_S", 0.005)
    monkeypatch.setattr(runner, "COOLDOWN_S", 0.0)


def test_json_is_alone_on_stdout_and_the_page_is_written(
    folder: Path, short: None, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(folder / "m.onnx", folder / "copy.onnx")
    done = call(
        "c3d-export",
        "bench",
        "m.onnx",
        "copy.onnx",
        "--threads",
        1,
        "--rounds",
        6,
        "--load-rounds",
        1,
        "--batch",
        "1,3",
        "--json",
        "--html",
        "b.html",
        cwd=folder,
        capture=capfd,
    )
    assert (done.returncode, done.stderr) == (0, "")
    output = json.loads(done.stdout)
    assert [(row["target"], row["batch"]) for row in output["measurements"]] == [
        ("m.onnx", 1),
        ("copy.onnx", 1),
        ("m.onnx", 3),
        ("copy.onnx", 3),
    ]
    assert output["rooflines"][0]["rate"] > 1e8
    assert (folder / "b.html").read_text().count("<figure>") == 2


def test_a_page_that_cannot_be_written_does_not_hide_the_result(
    folder: Path, short: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "write_page", refuse_to_write)
    monkeypatch.setattr(runner, "measure_product", lambda *_: Product(1e9, "fake"))
    few = ("--threads", 1, "--rounds", 3, "--load-rounds", 1, "--batch", 1)
    done = call("c3d-export", "bench", "m.onnx", *few, "--html", "b.html", cwd=folder, capture=capfd)
    assert done.returncode == 3
    assert "batch 1, 1 thread: milliseconds per batch, 3 interleaved rounds" in done.stdout
    assert "wrote" not in done.stdout


def refuse_to_write(*_: object) -> None:
    raise OutputError("b.html: cannot be written: No space left on device")


USAGE = {
    "nothing": ([], "name an artifact to measure, or give --all"),
    "an option of --all": (["m.onnx", "--calibrate", "v.mp4"], "--calibrate applies only with --all"),
    "a shape with --all": (["--all", "--shape", "x=1x3"], "--shape does not go with --all"),
    "two artifacts with --all": (["--all", "m.onnx", "n.onnx"], "--all takes one artifact"),
    "two thread counts with --all": (["--all", "--threads", "1,2"], "--all measures at one thread count"),
    "no time for exports": (["--all", "--export-seconds", "0"], "--export-seconds must be above 0"),
    "no accuracy": (["--all", "--min-snr", "-3"], "--min-snr must be a positive number"),
    "text as batch": (["m.onnx", "--batch", "many"], "'many' is not of the form 1,4"),
    "an engine without a path": (["m.onnx", "--engine-python", "mnn"], "'mnn' is not of the form mnn=PATH/bin/python"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_exits_2(case: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments, reported = USAGE[case]
    done = call("c3d-export", "bench", *arguments, cwd=folder, capture=capfd)
    assert (done.returncode, done.stdout) == (2, "")
    assert reported in done.stderr


BAD = {
    "damaged files": (["damaged.onnx", "none.onnx"], 3, "damaged.onnx: not a complete ONNX file"),
    "no folder for the page": (["m.onnx", "--html", "none/b.html"], 3, "there is no folder none"),
    "no GPU": (["m.onnx", "--device", "cuda"], 4, "pip install 'onnxruntime-gpu"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_and_missing_devices_have_their_exit_codes(
    case: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, code, reported = BAD[case]
    done = call("c3d-export", "bench", *arguments, cwd=folder, capture=capfd)
    assert (done.returncode, done.stdout) == (code, "")
    assert reported in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.heavy
def test_a_damaged_file_does_not_hide_the_others(folder: Path, short: None, capfd: pytest.CaptureFixture[str]) -> None:
    options = ("--rounds", 1, "--batch", 1, "--load-rounds", 1, "--threads", 1, "--json")
    done = call("c3d-export", "bench", "damaged.onnx", "m.onnx", *options, cwd=folder, capture=capfd)
    assert done.returncode == 3
    report = json.loads(done.stdout)
    assert (report["complete"], report["first"]) == (False, "m.onnx")
    assert [row["target"] for row in report["measurements"]] == ["m.onnx"]
    (missing,) = report["missing"]
    assert (missing["target"], missing["exit_code"]) == ("damaged.onnx", 3)
    assert missing["reason"].startswith("not a complete ONNX file")


@pytest.mark.heavy
def test_engines_run_the_network_of_a_torchscript_artifact(narrow_artifacts: ExportResult) -> None:
    """All engines that are installed run a new unoptimized export; their outputs equal the artifact's."""
    done = run(
        "c3d-export",
        "bench",
        "c3d.pt",
        "--engines",
        "--batch",
        1,
        "--rounds",
        1,
        "--load-rounds",
        1,
        "--warmup",
        0,
        "--json",
        cwd=narrow_artifacts.artifacts[1].path.parent,
    )
    output = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    ran = {row["target"]: row["difference"] for row in output["measurements"]}
    ran.pop("OpenVINO default", None)  # bfloat16 where the processor has it
    assert {"c3d.pt", "torch eager", "onnxruntime plain"} <= set(ran)
    assert {name: value for name, value in ran.items() if value is not None and value >= 1e-4} == {}
    assert output["rooflines"][0]["bounds"][0]["multiply_adds"] == pytest.approx(131.4e6, rel=0.002)
