"""The results of injected faults, on a small network whose own file in float64 is the reference."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny import CLIP, clips, save

from exporter.engines import find_engine
from exporter.engines.base import RuntimeOptions
from exporter.fault_injection.faults import FAULTS
from exporter.fault_injection.graph import FaultyGraph
from exporter.fault_injection.harness import Harness, select_batches
from exporter.fault_injection.results import SelfTestOptions
from exporter.fault_injection.runner import Fault, clean_runs, list_faults, run_faults
from exporter.fault_injection.split import split_model
from exporter.parity.execution import RunSpec, run_model
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputSet
from exporter.parity.io_mapping import map_by_name
from exporter.parity.sources import FileSource

NAMES = ("random", "saturated", "zeros", "video")


def make_harness(folder: Path, batch: int | str = "batch") -> Harness:
    path = save(folder / "tiny.onnx", batch)
    (folder / "split").mkdir()
    graph = split_model(path, folder / "split")
    drawn = clips(4)
    drawn[1], drawn[2] = np.sign(drawn[1]) * 255, 0
    dynamic = save(folder / "dynamic.onnx")  # the reference is computed one row at a time
    golden = GoldenOutputs(FileSource(dynamic, "onnx"), InputSet.of_rows({"clip": drawn}, NAMES))
    golden.compute(range(4))
    engine = find_engine("onnx")
    with engine.open(path, RuntimeOptions()) as runtime:
        mapping = map_by_name(path, runtime.signature, runtime.signature)
    spec = RunSpec(path, lambda settings: engine.open(path, settings), RuntimeOptions(), lambda _found: mapping)
    original = run_model(spec, golden.inputs)
    return Harness(graph, spec, golden, original, select_batches(golden.inputs, graph.input_shape[0]))


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return make_harness(tmp_path_factory.mktemp("tiny"))


def find_faults(harness: Harness, *names: str) -> tuple[Fault, ...]:
    rows = [row for row in FAULTS if row.name in names]
    assert len(rows) == len(names)
    return list_faults(harness.graph, rows)


def test_every_fault_of_the_table_is_detected_or_too_small(harness: Harness) -> None:
    found = run_faults(harness, list_faults(harness.graph), SelfTestOptions())
    assert {fault.outcome for fault in found} == {"detected", "below_tolerance"}
    assert len(found) > 200
    detected = [fault for fault in found if fault.outcome == "detected"]
    assert all(fault.budget_used > 1 and fault.float64_budget_used is None for fault in detected)
    small = [fault for fault in found if fault.outcome == "below_tolerance"]
    assert all(fault.float64_budget_used is not None and fault.float64_budget_used <= 1 for fault in small)
    assert len(small) < len(found) / 10


def test_a_fault_smaller_than_float32_resolves_is_below_the_tolerance(harness: Harness) -> None:
    found = run_faults(harness, find_faults(harness, "the lowest mantissa bit flipped"), SelfTestOptions())
    assert {fault.outcome for fault in found} == {"below_tolerance"}


def test_a_fault_that_float32_hides_and_float64_shows_is_undetected(harness: Harness) -> None:
    """The check is replaced by one that sees the outputs of the artifact without the fault."""
    (fault,) = find_faults(harness, "softmax added")

    class BlindHarness(Harness):
        def run(self, faulty: FaultyGraph):
            del faulty
            return self.original, self.report

    blind = BlindHarness(harness.graph, harness.spec, harness.golden, harness.original, harness.batches)
    (found,) = run_faults(blind, [fault], SelfTestOptions())
    assert found.outcome == "undetected"
    assert found.float64_budget_used is not None
    assert found.float64_budget_used > 1


def test_a_copy_that_the_engine_refuses_is_invalid(harness: Harness) -> None:
    (fault,) = find_faults(harness, "softmax added")

    def inject(faulty: FaultyGraph, _: object) -> None:
        faulty.wrap("logits", lambda faulty, x: faulty.emit("NoSuchOperator", x))

    broken = replace(fault, site=replace(fault.site, inject=inject))
    (found,) = run_faults(harness, [broken], SelfTestOptions())
    assert found.outcome == "invalid"
    assert found.reason is not None
    assert "NoSuchOperator" in found.reason


def test_the_faulty_layer_is_named(harness: Harness) -> None:
    names = ("weights scaled by 1 %", "leaky ReLU for ReLU", "average for max pool", "ReLU dropped", "BGR for RGB")
    found = run_faults(harness, find_faults(harness, *names), SelfTestOptions(localize=True))
    reported = {(fault.kind, fault.where): (fault.located, fault.named) for fault in found}
    assert reported["weights scaled by 1 %", "conv2"] == ("layer", "conv2.out")
    assert reported["weights scaled by 1 %", "fc8"] == ("layer", "logits")
    assert reported["leaky ReLU for ReLU", "fc6.relu"] == ("layer", "fc6.relu.out")
    assert reported["average for max pool", "pool2"] == ("layer", "pool2.out")
    assert reported["ReLU dropped", "conv2.relu"] == ("between", "pool2.out")  # the graph has no such value any more
    assert reported["BGR for RGB", "clip"] == (None, None)  # no layer causes it


def test_random_numbers_depend_only_on_seed_and_fault(harness: Harness) -> None:
    first, second = find_faults(harness, "a layer with new random weights")[:2]
    again = first.inject(harness.graph, 0).changed["conv1.weight"]
    assert np.array_equal(first.inject(harness.graph, 0).changed["conv1.weight"], again)
    assert not np.array_equal(first.inject(harness.graph, 1).changed["conv1.weight"], again)
    assert not np.array_equal(second.inject(harness.graph, 0).changed["conv2.weight"].ravel()[:99], again.ravel()[:99])


def test_quick_takes_one_position_per_fault_type(harness: Harness) -> None:
    quick, every = list_faults(harness.graph, quick=True), list_faults(harness.graph)
    assert len(quick) == len({fault.fault_type for fault in every})
    assert {fault.site.where for fault in quick} >= {"conv1", "conv2", "fc6", "fc7", "fc8"}


def test_a_fixed_batch_is_filled(tmp_path: Path) -> None:
    fixed = make_harness(tmp_path, 3)
    faults = find_faults(fixed, "items mixed by 0.1 %", "bias dropped")
    found = run_faults(fixed, faults, SelfTestOptions(localize=True))
    assert {fault.outcome for fault in found} == {"detected"}
    assert {fault.located for fault in found if fault.kind == "bias dropped"} == {"layer"}


def test_one_item_at_a_time(tmp_path: Path) -> None:
    one = make_harness(tmp_path, 1)
    assert not find_faults(one, "items mixed by 0.1 %")
    found = run_faults(one, find_faults(one, "bias dropped", "the lowest mantissa bit flipped"), SelfTestOptions())
    assert [fault.outcome for fault in found] == ["below_tolerance"] * 5 + ["detected"] * 5


def test_clean_runs_are_counted_and_pass(harness: Harness) -> None:
    def make_inputs(seed: int, number: int) -> InputSet:
        names = ("random", "uniform", "heavy-tailed", "sparse", "saturated", "impulse", "pixels")[:number]
        values = np.random.default_rng(seed).standard_normal((len(names), *CLIP), np.float32)
        return InputSet.of_rows({"clip": values}, names)

    clean = clean_runs(harness, make_inputs, seed=0, wanted=10)
    assert clean.runs == 4 + 2 + 7 + 2 + 3 + 2  # single rows, then batches of 2 and 3, three times
    assert clean.false_positives == ()
    assert 0 < clean.max_budget_used < 1
