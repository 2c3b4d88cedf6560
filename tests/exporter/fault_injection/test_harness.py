"""Faults in a narrow C3D, one at a time: every one is detected and located."""

import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny import CLIP

from exporter.errors import CheckFailedError
from exporter.fault_injection.faults import FAULTS
from exporter.fault_injection.graph import FaultyGraph
from exporter.fault_injection.harness import OPTIONS, Harness, select_batches, set_up
from exporter.fault_injection.runner import list_faults
from exporter.formats import load_artifact
from exporter.parity.evaluate import evaluate
from exporter.parity.execution import run_model
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputSet
from exporter.parity.run_specs import make_run_spec
from exporter.types import ParityOptions
from exporter.workflows.export import ExportResult
from models.built_model import BuiltModel


@pytest.fixture(scope="module")
def harness(
    narrow: BuiltModel, narrow_artifacts: ExportResult, golden: GoldenOutputs, tmp_path_factory: pytest.TempPathFactory
) -> Harness:
    artifact = load_artifact(narrow_artifacts.artifacts[0].path)
    return set_up(artifact, golden, make_run_spec(artifact, OPTIONS, narrow), tmp_path_factory.mktemp("split"))


def inject(harness: Harness, name: str, where: str) -> tuple[FaultyGraph, str | None]:
    """Return a copy with one fault of the table, and the first value that it changes."""
    rows = [row for row in FAULTS if row.name == name]
    (fault,) = [fault for fault in list_faults(harness.graph, rows) if fault.site.where == where]
    return fault.inject(harness.graph, 0), fault.site.value


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("weights scaled by 1 %", "conv1"),
        ("weights scaled by 1 %", "fc8"),
        ("largest weight off by 1 %", "conv2"),
        ("bias dropped", "conv5b"),
        ("ReLU dropped", "fc7.relu"),
        ("first convolution takes BGR for RGB", "conv1"),
        ("flattened T,H,W,C for C,T,H,W", "fc6"),
        ("weights rounded to bfloat16", "conv2"),
        ("a NaN among the weights", "conv5a"),
    ],
)
def test_the_first_input_shows_most_faults(name: str, where: str, harness: Harness) -> None:
    result, report = harness.run(inject(harness, name, where)[0])
    assert not report.passed
    assert [batch.name for batch, _ in result.batches] == ["random"]


def test_items_that_interact_are_detected_in_a_batch_of_two(harness: Harness) -> None:
    result, report = harness.run(inject(harness, "items mixed by 0.1 %", "pool4")[0])
    assert not report.passed
    assert [batch.name for batch, _ in result.batches] == ["random", "random + video"]


def test_a_copy_without_a_fault_passes_on_every_batch(harness: Harness) -> None:
    result, report = harness.run(FaultyGraph(harness.graph))
    assert report.passed
    assert [batch.name for batch, _ in result.batches] == ["random", "random + video", "saturated + zeros"]


def test_in_float64_a_copy_without_a_fault_uses_none_of_the_budget(harness: Harness) -> None:
    report = harness.run_float64(FaultyGraph(harness.graph))
    assert [row.input for row in report.comparisons] == ["random + video", "saturated + zeros"]
    assert max(row.budget_used for row in report.comparisons) < 1e-6


@pytest.mark.parametrize(
    ("name", "where", "layer", "how"),
    [
        ("largest weight off by 1 %", "conv2", "conv2", "layer"),
        ("ReLU dropped", "conv3a.relu", "conv3b", "between"),
        ("pool padding of the other convention", "pool5", "pool5", "layer"),
        ("classes in reverse order", "fc8", "fc8", "layer"),
    ],
)
def test_a_fault_is_located(name: str, where: str, layer: str, how: str, harness: Harness) -> None:
    faulty, value = inject(harness, name, where)
    assert value is not None
    assert harness.locate(value, *harness.run(faulty)) == (how, layer)


def test_a_fault_is_located_by_values_without_names(harness: Harness) -> None:
    faulty, value = inject(harness, "ReLU dropped", "conv3a.relu")
    assert value is not None
    for node in faulty.graph.node:  # only values are left to match by
        for names in (node.input, node.output):
            names[:] = [
                re.sub(r"^(.*)\.out$", lambda found: f"v{zlib.crc32(found[1].encode())}", name) for name in names
            ]
    assert harness.locate(value, *harness.run(faulty)) == ("between", "conv3b")


def test_a_fault_gets_the_result_of_verify_parity(harness: Harness, narrow: BuiltModel) -> None:
    faulty, _ = inject(harness, "weights scaled by 0.1 %", "conv4a")
    spec = make_run_spec(load_artifact(faulty.write("whole.onnx")), ParityOptions(), narrow)
    whole = evaluate(run_model(spec, harness.golden.inputs), harness.golden, ParityOptions()).comparisons
    (row,) = harness.run(faulty)[1].comparisons
    assert replace(row) in whole


def test_an_artifact_that_fails_without_a_fault_is_refused(
    harness: Harness, narrow: BuiltModel, tmp_path: Path
) -> None:
    faulty, _ = inject(harness, "bias added twice", "fc8")
    failing = load_artifact(faulty.write("failing.onnx"))
    with pytest.raises(CheckFailedError, match="does not pass parity without a fault"):
        set_up(failing, harness.golden, make_run_spec(failing, OPTIONS, narrow), tmp_path)


def test_batches_contain_every_input() -> None:
    inputs = InputSet.of_rows({"clip": np.zeros((4, *CLIP), np.float32)}, ("a", "b", "c", "d"))
    assert [batch.rows for batch in select_batches(inputs, None)] == [(0,), (0, 3), (1, 2)]
    assert [batch.rows for batch in select_batches(inputs, 3)] == [(0, 1, 2), (3, 0, 1)]
    one = InputSet.of_rows({"clip": np.zeros((1, *CLIP), np.float32)}, ("a",))
    assert [batch.rows for batch in select_batches(one, None)] == [(0,), (0, 0)]
