"""What a self-test finds, on a small network whose own file in float64 is the truth."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny import CLIP, clips, save

from exporter.artifacts.loading import LoadedArtifact
from exporter.engines import RuntimeOptions, find_engine
from exporter.errors import CheckFailedError
from exporter.fault_injection.faults import FAULTS
from exporter.fault_injection.graph import FaultyGraph
from exporter.fault_injection.harness import Harness, Precision, RunOutcome
from exporter.fault_injection.results import CleanRuns, FaultResult, SelfTestOptions, SelfTestReport
from exporter.fault_injection.runner import Fault, clean_runs, list_faults, run_faults, set_up, temp_dir
from exporter.fault_injection.split import split_model
from exporter.parity.execution import RunResult, RunSpec, run_model
from exporter.parity.golden import FileSource, GoldenOutputs
from exporter.parity.inputs import InputBatch, InputSet
from exporter.parity.io_mapping import map_by_name
from models.builder import build
from models.options import BuildOptions

NAMES = ("random", "saturated", "zeros", "video")


def bench_of(folder: Path, batch: int | str = "batch") -> tuple[Harness, RunResult]:
    path = save(folder / "tiny.onnx", batch)
    (folder / "apart").mkdir()
    graph = split_model(path, folder / "apart")
    drawn = clips(4)
    drawn[1], drawn[2] = np.sign(drawn[1]) * 255, 0
    free = save(folder / "free.onnx")  # the truth is computed a row at a time
    golden = GoldenOutputs(FileSource(free, "onnx"), InputSet({"clip": drawn}, NAMES))
    golden.compute(range(4))
    engine = find_engine("onnx")
    with engine.open(path, RuntimeOptions()) as runtime:
        io_mapping = map_by_name(path, runtime.signature, runtime.signature)
    spec = RunSpec(path, lambda settings: engine.open(path, settings), RuntimeOptions(), lambda _found: io_mapping)
    original = run_model(spec, golden.inputs)
    return Harness(graph, spec, io_mapping, golden, original.engine), original


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return bench_of(tmp_path_factory.mktemp("bench"))[0]


def faults_of(harness: Harness, *kinds: str) -> tuple[Fault, ...]:
    rows = [row for row in FAULTS if row.name in kinds]
    assert len(rows) == len(kinds)
    return list_faults(harness, rows)


def test_every_fault_of_the_table_is_caught_or_below(harness: Harness) -> None:
    found = run_faults(harness, list_faults(harness), SelfTestOptions())
    assert {fault.outcome for fault in found} == {"detected", "below_tolerance"}
    assert len(found) > 200
    caught = [fault for fault in found if fault.outcome == "detected"]
    assert all(fault.budget_used > 1 and fault.float64_budget_used is None for fault in caught)
    below = [fault for fault in found if fault.outcome == "below_tolerance"]
    assert all(fault.float64_budget_used is not None and fault.float64_budget_used <= 1 for fault in below)
    assert len(below) < len(found) / 10


def test_a_bit_below_float32_is_below_the_budget(harness: Harness) -> None:
    found = run_faults(harness, faults_of(harness, "the lowest mantissa bit flipped"), SelfTestOptions())
    assert {fault.outcome for fault in found} == {"below_tolerance"}


def test_a_checker_that_lets_faults_pass_is_found_out(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Harness.run

    def blind(
        self: Harness, copy: FaultyGraph, batches: Sequence[InputBatch], precision: Precision = "float32"
    ) -> RunOutcome:
        verdict = real(self, copy, batches, precision)
        return verdict if precision == "float64" else replace(verdict, passed=True)

    monkeypatch.setattr(Harness, "run", blind)
    found = run_faults(
        harness, faults_of(harness, "softmax added", "the lowest mantissa bit flipped"), SelfTestOptions()
    )
    assert [fault.outcome for fault in found] == ["below_tolerance"] * 5 + ["undetected"]
    assert found[-1].float64_budget_used is not None
    assert found[-1].float64_budget_used > 1


def test_a_copy_that_the_engine_refuses_is_no_run_outcome(harness: Harness) -> None:
    (fault,) = faults_of(harness, "softmax added")

    def inject(copy: FaultyGraph, _generator: object) -> None:
        copy.wrap("logits", lambda copy, x: copy.emit("NoSuchOperator", x))

    broken = replace(fault, site=replace(fault.site, inject=inject))
    (found,) = run_faults(harness, [broken], SelfTestOptions())
    assert found.outcome == "invalid"
    assert found.reason is not None
    assert "NoSuchOperator" in found.reason


def test_layers_are_named(harness: Harness) -> None:
    kinds = ("weights scaled by 1 %", "leaky ReLU for ReLU", "average for max pool", "ReLU dropped", "BGR for RGB")
    found = run_faults(harness, faults_of(harness, *kinds), SelfTestOptions(localize=True))
    reported = {(fault.kind, fault.where): (fault.located, fault.named) for fault in found}
    assert reported["weights scaled by 1 %", "conv2"] == ("layer", "conv2.out")
    assert reported["weights scaled by 1 %", "fc8"] == ("layer", "logits")
    assert reported["leaky ReLU for ReLU", "fc6.relu"] == ("layer", "fc6.relu.out")
    assert reported["average for max pool", "pool2"] == ("layer", "pool2.out")
    assert reported["ReLU dropped", "conv2.relu"] == ("between", "pool2.out")  # the graph has no such value any more
    assert reported["BGR for RGB", "clip"] == (None, None)  # no layer is to blame


def test_what_a_fault_draws_depends_on_seed_and_fault_alone(harness: Harness) -> None:
    first, second = faults_of(harness, "a layer with fresh random weights")[:2]
    again = first.copy(harness, 0).changed["conv1.weight"]
    assert np.array_equal(first.copy(harness, 0).changed["conv1.weight"], again)
    assert not np.array_equal(first.copy(harness, 1).changed["conv1.weight"], again)
    assert not np.array_equal(second.copy(harness, 0).changed["conv2.weight"].ravel()[:99], again.ravel()[:99])


def test_quick_takes_one_place_of_each_kind(harness: Harness) -> None:
    quick, every = list_faults(harness, quick=True), list_faults(harness)
    assert len(quick) == len({fault.fault_type for fault in every})
    assert {fault.site.where for fault in quick} >= {"conv1", "conv2", "fc6", "fc7", "fc8"}


def test_a_fixed_batch_is_filled(tmp_path: Path) -> None:
    fixed, _ = bench_of(tmp_path, 3)
    found = run_faults(fixed, faults_of(fixed, "items mixed by 0.1 %", "bias dropped"), SelfTestOptions(localize=True))
    assert {fault.outcome for fault in found} == {"detected"}


def test_a_single_clip_at_a_time(tmp_path: Path) -> None:
    one, _ = bench_of(tmp_path, 1)
    assert not faults_of(one, "items mixed by 0.1 %")
    found = run_faults(one, faults_of(one, "bias dropped", "the lowest mantissa bit flipped"), SelfTestOptions())
    assert [fault.outcome for fault in found] == ["below_tolerance"] * 5 + ["detected"] * 5


def test_clean_runs_are_counted_and_raise_no_alarm(harness: Harness) -> None:
    original = run_model(harness.spec, harness.golden.inputs)

    def draw(seed: int, kinds: tuple[str, ...]) -> InputSet:
        shape = (len(kinds), *CLIP)
        return InputSet({"clip": np.random.default_rng(seed).standard_normal(shape, np.float32)}, kinds)

    clean = clean_runs(harness, original, draw, seed=0, wanted=10)
    assert clean.runs == 4 + 2 + 7 + 2 + 3 + 2  # rows alone, then batches of 2 and 3, three times
    assert clean.false_positives == ()
    assert 0 < clean.max_budget_used < 1


def test_an_artifact_that_fails_as_it_is_is_refused(tmp_path: Path, harness: Harness) -> None:
    other = save(tmp_path / "c3d.onnx")
    subject = LoadedArtifact(other, "onnx", None, ())
    faulty = FaultyGraph(harness.graph)
    faulty.set("fc8.bias", np.ones(5, np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "exporter.fault_injection.runner.make_run_spec",
            lambda *_: replace(
                harness.spec,
                open=lambda settings: find_engine("onnx").open(
                    faulty.write(faulty.model, harness.graph.folder / "unsound.onnx"), settings
                ),
            ),
        )
        with pytest.raises(CheckFailedError, match="does not pass parity unmodified"):
            set_up(subject, harness.golden, build(BuildOptions(base_channels=8, feature_dim=32)), tmp_path)


@pytest.mark.parametrize("roomy", [True, False])
def test_the_weights_are_kept_in_memory_where_there_is_room(
    roomy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr("exporter.fault_injection.runner.MEMORY_FOLDER", memory)
    monkeypatch.setattr("exporter.fault_injection.runner.FREE_SPACE_FACTOR", 1 if roomy else 2**60)
    with temp_dir(save(tmp_path / "tiny.onnx")) as folder:
        assert Path(folder).is_relative_to(memory) is roomy
    assert not Path(folder).exists()


def make_result(outcome: str) -> FaultResult:
    return FaultResult("kind", "mistake", "conv1", outcome, "random", 2.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outcomes", "false_positives", "passed"),
    [
        (("detected", "below_tolerance", "invalid"), (), True),
        (("detected", "undetected"), (), False),
        (("below_tolerance",), (), False),
        (("detected",), ("random",), False),
    ],
)
def test_the_report_passes_only_if_all_faults_are_detected(
    outcomes: tuple[str, ...], false_positives: tuple[str, ...], passed: bool
) -> None:
    faults = tuple(make_result(outcome) for outcome in outcomes)
    report = SelfTestReport("a", "r", "t", ("random",), 1, faults, CleanRuns(1, false_positives, 0.5), {})
    assert report.passed is passed
