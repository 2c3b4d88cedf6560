"""`benchmark()` on tiny models in real processes, and what it makes of targets that fail."""

import shutil
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import graphs, toy_engine
from helpers.small_models import convolution
from onnx import numpy_helper

from exporter import engines
from exporter.bench import rounds, runner
from exporter.bench.roofline import Product
from exporter.bench.types import BenchReport, BenchRequest, Skipped
from exporter.bench.worker_client import Worker, WorkerError
from exporter.engines import ENGINES
from exporter.errors import ArtifactError, CheckFailedError, LimitError, UnavailableError, UsageError
from exporter.workflows.bench import benchmark
from exporter.workflows.bench_checks import check_request


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "product_worker", nullcontext)
    monkeypatch.setattr(runner, "measure_product", lambda *_: Product(1e9, "fake"))
    monkeypatch.setattr(rounds, "MIN_ROUND_S", 0.005)
    monkeypatch.setattr(runner, "COOLDOWN_S", 0.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four models of one signature: the first, a copy, one of other weights, and one that is forty times as wide."""
    folder = tmp_path_factory.mktemp("models")
    convolution(folder / "first.onnx")
    shutil.copy(folder / "first.onnx", folder / "copy.onnx")
    other = onnx.load(folder / "first.onnx")
    tensor = other.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.5), tensor.name))
    onnx.save(other, folder / "other.onnx")
    convolution(folder / "wide.onnx", channels=160)
    return folder


@pytest.fixture(scope="module")
def report(models: Path) -> BenchReport:
    request = BenchRequest(
        tuple(models / f"{name}.onnx" for name in ("first", "other", "wide")),
        batches=(4, 1),
        threads=(1,),
        rounds=7,
        warmup=1,
        load_rounds=2,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "product_worker", nullcontext)
        patch.setattr(runner, "measure_product", lambda *_: Product(1e9, "fake"))
        patch.setattr(rounds, "MIN_ROUND_S", 0.005)
        return benchmark(request)


def test_every_target_is_measured_at_every_batch(report: BenchReport) -> None:
    names = ["first.onnx", "other.onnx", "wide.onnx"]
    assert [(row.batch, row.target) for row in report.measurements] == [(b, name) for b in (1, 4) for name in names]
    assert report.complete
    assert report.missing == ()
    for row in report.measurements:
        assert row.rounds == 7 <= row.calls
        assert row.minimum <= row.median <= row.p90
        assert row.throughput == pytest.approx(row.batch / row.median)
        assert row.ratio.low <= row.ratio.value <= row.ratio.high
        assert row.memory is not None
        assert 0 < row.memory < 1e9
    assert [target.engine.split()[0] for target in report.targets] == ["onnxruntime"] * 3


def test_outputs_are_compared_with_the_firsts(report: BenchReport) -> None:
    reported = {row.target: row.difference for row in report.of(1, 4)}
    assert reported["first.onnx"] is None
    assert reported["other.onnx"] == pytest.approx(0.5, rel=1e-5)
    note = next(note for note in report.notes if note.startswith("other.onnx"))
    assert note.startswith(
        "other.onnx does not return the same outputs as first.onnx does: they differ by 0.5 of the largest"
    )


def test_more_work_takes_longer(report: BenchReport) -> None:
    """Forty times the multiply-adds: the only claim about time that any machine keeps."""
    ratios = {row.target: row.ratio for row in report.of(1, 4)}
    assert ratios["wide.onnx"].low > 1
    assert (ratios["first.onnx"].low, ratios["first.onnx"].high) == (1, 1)


def test_loading_is_timed_in_processes_of_its_own(report: BenchReport) -> None:
    assert report.loadings
    for row in report.loadings:
        assert len(row.loads) == len(row.first_outputs) == 2
        assert all(0 < load < first for load, first in zip(row.loads, row.first_outputs, strict=True))


def test_the_roofline_counts_the_first_graph(report: BenchReport) -> None:
    (line,) = report.rooflines
    each = 4 * 3 * 27 * 4 * 8 * 8 + 4 * 5
    assert [(bound.batch, bound.multiply_adds) for bound in line.bounds] == [(1, each), (4, 4 * each)]
    assert [bound.seconds for bound in line.bounds] == pytest.approx([2 * n * each / line.rate for n in (1, 4)])


def one_round(path: Path, **options: Any) -> BenchRequest:
    return replace(BenchRequest((path,), batches=(1,), threads=(1,), rounds=1, load_rounds=1), **options)


def test_a_model_that_does_not_load_ends_it(models: Path) -> None:
    model = onnx.load(models / "first.onnx")
    model.graph.node[0].op_type = "Convolve"
    onnx.save(model, models / "broken.onnx")
    with pytest.raises(ArtifactError, match=r"broken.onnx: cannot be loaded: .*Convolve"):
        benchmark(one_round(models / "broken.onnx"))


def test_a_device_that_is_not_there_ends_it(models: Path) -> None:
    with pytest.raises(UnavailableError, match=r"first.onnx: --device cuda: the installed onnxruntime has no CUDA"):
        benchmark(one_round(models / "first.onnx", device="cuda"))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make the toy engine the only one that is added; return a graph that it can run."""
    monkeypatch.setattr(engines, "ENGINES", {"onnxruntime": ENGINES["onnxruntime"], "toy": toy_engine.ENGINE})
    monkeypatch.setenv("PYTHONPATH", toy_engine.TESTS)
    weight = np.ones((6, 5), np.float32)
    nodes = [graphs.node("MatMul", "x w", "y")]
    return graphs.save(tmp_path / "m.onnx", graphs.graph(nodes, {"x": ("n", 6)}, {"y": ("n", 5)}, {"w": weight}))


@pytest.mark.parametrize("calls", [0, 2])
def test_an_engine_that_crashes_is_reported_and_the_others_are_measured(
    calls: int, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY", f"crash {calls}")
    found = benchmark(one_round(toy, engines=True, rounds=3))
    assert found.missing == (Skipped("Toy", "its process ended by SIGSEGV", added=True),)
    assert [row.target for row in found.measurements] == ["m.onnx"]
    assert found.complete


def test_engines_without_a_network_or_a_library_say_why(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("openvino", "openvino-default", "mnn"):
        monkeypatch.setitem(ENGINES, name, replace(ENGINES[name], library=f"no_{name}"))
    found = benchmark(one_round(models / "first.onnx", engines=True))
    reported = {absent.target: absent.reason for absent in found.missing}
    assert reported["torch eager"].startswith(
        "first.onnx has no manifest that states its network; give its checkpoint with --weights"
    )
    assert reported["OpenVINO"] == "not installed; pip install 'c3d-export[openvino]'"
    assert reported["MNN"] == "not installed; pip install 'c3d-export[peers]'"
    assert [target.name for target in found.targets] == ["first.onnx"]  # which is onnxruntime plain itself
    assert list(tmp_path.iterdir()) == []


def test_engines_run_the_plain_graph_that_is_named(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ENGINES", {"onnxruntime": ENGINES["onnxruntime"]})
    found = benchmark(one_round(models / "other.onnx", engines=True, engine_model=models / "first.onnx"))
    assert [(e.name, Path(e.file).name, e.added) for e in found.targets] == [
        ("other.onnx", "other.onnx", False),
        ("onnxruntime plain", "first.onnx", True),
    ]
    assert found.measurements[1].difference == pytest.approx(1 / 3, rel=1e-5)
    assert found.rooflines[0].counted == str(models / "first.onnx")


class Dying(Worker):
    """A worker that dies in a round."""

    which = ""
    reason = "its process ended by SIGKILL"

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        if do == "load" and request["path"].endswith(self.which):
            self.doomed = True
        if do == "run" and getattr(self, "doomed", False):
            raise WorkerError("failed", self.reason)
        return super().ask(do, **request)


def test_an_artifact_that_fails_on_the_way_leaves_the_report_incomplete(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "Worker", Dying)
    monkeypatch.setattr(Dying, "which", "copy.onnx")
    request = replace(one_round(models / "first.onnx"), artifacts=(models / "first.onnx", models / "copy.onnx"))
    found = benchmark(request)
    assert not found.complete
    assert found.missing == (Skipped("copy.onnx", "its process ended by SIGKILL", added=False),)
    monkeypatch.setattr(Dying, "which", "first.onnx")
    with pytest.raises(CheckFailedError, match=r"first.onnx failed, and the others are compared with it: its process"):
        benchmark(request)


def test_memory_that_runs_out_in_a_round_has_its_own_exit_code(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "Worker", Dying)
    monkeypatch.setattr(Dying, "reason", "memory ran out while onnxruntime runs it; close other programs")
    request = replace(one_round(models / "first.onnx"), artifacts=(models / "first.onnx", models / "copy.onnx"))
    monkeypatch.setattr(Dying, "which", "copy.onnx")
    assert benchmark(request).exit_code == 5
    monkeypatch.setattr(Dying, "which", "first.onnx")
    with pytest.raises(LimitError, match="first.onnx failed"):
        benchmark(request)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no artifact": ({"artifacts": ()}, "name an artifact"),
    "no batch": ({"batches": (0,)}, "--batch must be different numbers of at least 1 .got 0."),
    "a batch twice": ({"batches": (1, 1)}, "--batch must be different"),
    "no threads": ({"threads": (2, -1)}, "--threads must be different numbers of at least 1 .got 2,-1."),
    "a batch too large": ({"batches": (1, 65_537)}, "--batch must be at most 65,536 .got 1,65537."),
    "a million threads": ({"threads": (2, 1_000_000)}, "--threads must be at most 1,024 .got 2,1000000."),
    "no rounds": ({"rounds": 0}, "--rounds must be at least 1"),
    "no time": ({"seconds": 0.0}, "--seconds must be above 0"),
    "not a number": ({"seconds": float("nan")}, "--seconds must be above 0"),
    "no loads": ({"load_rounds": 0}, "--load-rounds must be at least 1"),
    "tensorrt": ({"device": "tensorrt"}, "bench knows cpu and cuda"),
    "python without engines": (
        {"engine_python": {"mnn": Path(sys.executable)}},
        "--engine-python is an option of --engines",
    ),
    "engine model without engines": ({"engine_model": Path("m.onnx")}, "--engine-model is an option of --engines"),
    "unknown engine": (
        {"engines": True, "engine_python": {"ncnn": Path(sys.executable)}},
        "--engine-python ncnn: no such engine",
    ),
    "no interpreter": ({"engines": True, "engine_python": {"mnn": Path("/nowhere")}}, "no such interpreter"),
}


@pytest.mark.parametrize("case", WRONG)
def test_invalid_options_are_refused(case: str) -> None:
    options, reported = WRONG[case]
    with pytest.raises(UsageError, match=reported):
        check_request(replace(BenchRequest((Path("m.onnx"),)), **options))


def test_one_file_twice_is_refused_and_two_of_one_name_are_distinguished(models: Path, tmp_path: Path) -> None:
    first = models / "first.onnx"
    with pytest.raises(UsageError, match="name each artifact once"):
        benchmark(replace(one_round(first), artifacts=(first, first)))
    (tmp_path / "first.onnx").write_bytes(first.read_bytes())
    found = benchmark(replace(one_round(first), artifacts=(first, tmp_path / "first.onnx")))
    assert [target.name for target in found.targets] == [str(first), str(tmp_path / "first.onnx")]
    assert [row.difference for row in found.measurements] == [None, 0.0]
