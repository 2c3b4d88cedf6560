"""Faults in a narrow C3D, one at a time: every one is detected and located."""

import re
import zlib

import pytest

from exporter.fault_injection.faults import FAULTS
from exporter.fault_injection.graph import FaultyGraph
from exporter.fault_injection.harness import Harness
from exporter.fault_injection.runner import list_faults
from exporter.fault_injection.split import split_model
from exporter.formats import load_artifact
from exporter.parity.evaluate import evaluate
from exporter.parity.execution import run_model
from exporter.parity.golden import GoldenOutputs
from exporter.parity.inputs import InputSet
from exporter.parity.localize import localize
from exporter.parity.run_specs import make_run_spec
from exporter.types import ParityOptions
from exporter.workflows.export import ExportResult
from models.built_model import BuiltModel


@pytest.fixture(scope="module")
def golden_pair(golden: GoldenOutputs) -> GoldenOutputs:
    """The reference on a random clip and the real one."""
    inputs, rows = golden.inputs, [golden.inputs.names.index(name) for name in ("random", "video")]
    few = GoldenOutputs(golden.source, InputSet(inputs.select(rows), ("random", "video")))
    few.reuse(golden, rows)
    return few


@pytest.fixture(scope="module")
def harness(
    narrow: BuiltModel,
    narrow_artifacts: ExportResult,
    golden_pair: GoldenOutputs,
    tmp_path_factory: pytest.TempPathFactory,
) -> Harness:
    """The artifact with its graph and weights separated, so that a faulty copy only runs from its fault on."""
    graph = split_model(narrow_artifacts.artifacts[0].path, tmp_path_factory.mktemp("split"))
    spec = make_run_spec(load_artifact(narrow_artifacts.artifacts[0].path), ParityOptions(), narrow)
    with spec.open(spec.settings) as runtime:
        return Harness(graph, spec, spec.map_io(runtime.signature), golden_pair, runtime.description)


def inject(harness: Harness, kind: str, where: str) -> tuple[FaultyGraph, str | None]:
    """Return a copy with one fault of the table, and the first value that it changes."""
    (fault,) = [
        fault
        for fault in list_faults(harness, [row for row in FAULTS if row.name == kind])
        if fault.site.where == where
    ]
    return fault.copy(harness, 0), fault.site.value


FAULT_SITES = (
    ("weights scaled by 1 %", "conv1"),
    ("weights scaled by 1 %", "conv4b"),
    ("weights scaled by 1 %", "fc7"),
    ("weights scaled by 1 %", "fc8"),
    ("largest weight off by 1 %", "conv2"),
    ("bias dropped", "conv5b"),
    ("an output channel zeroed", "conv3a"),
    ("ReLU dropped", "conv3a.relu"),
    ("ReLU dropped", "fc7.relu"),
    ("pool5 of the other convention", "pool5"),
    ("first convolution takes BGR for RGB", "conv1"),
    ("kernels flipped on every axis", "conv3b"),
    ("flattened T,H,W,C for C,T,H,W", "fc6"),
    ("weights rounded to bfloat16", "conv2"),
    ("classes in reverse order", "fc8"),
    ("items mixed by 0.1 %", "pool4"),
    ("a NaN among the weights", "conv5a"),
)


@pytest.mark.parametrize(("kind", "where"), FAULT_SITES)
def test_a_fault_is_detected(kind: str, where: str, harness: Harness) -> None:
    copy, _ = inject(harness, kind, where)
    assert not harness.run(copy, harness.batches(("random", "video"))).passed


@pytest.mark.parametrize(
    ("kind", "where", "layer", "how"),
    [
        ("largest weight off by 1 %", "conv2", "conv2", "layer"),
        ("ReLU dropped", "conv3a.relu", "conv3b", "between"),
        ("pool5 of the other convention", "pool5", "pool5", "layer"),
        ("classes in reverse order", "fc8", "fc8", "layer"),
    ],
)
def test_a_fault_is_located(kind: str, where: str, layer: str, how: str, harness: Harness) -> None:
    copy, value = inject(harness, kind, where)
    assert value is not None
    (batch,) = harness.batches(("random", "video"))
    assert harness.localize(copy, value, batch) == (how, layer)


def test_a_fault_is_located_by_values_without_names(harness: Harness, narrow: BuiltModel) -> None:
    copy, _ = inject(harness, "ReLU dropped", "conv3a.relu")
    for node in copy.graph.node:  # only values are left to match by
        for names in (node.input, node.output):
            names[:] = [
                re.sub(r"^(.*)\.out$", lambda found: f"v{zlib.crc32(found[1].encode())}", name) for name in names
            ]
    path = copy.write(copy.model, harness.graph.folder / "unnamed.onnx")
    spec = make_run_spec(load_artifact(path), ParityOptions(), narrow)
    result = run_model(spec, harness.golden.inputs)
    report = evaluate(result, harness.golden, ParityOptions())
    assert [(row.input, row.passed) for row in report.comparisons] == [
        ("random", False),
        ("video", False),
        ("random + video", False),
    ]
    found = localize(result, report, harness.golden)
    assert found.first == "conv3b"
    assert "the graph does not contain conv3a.relu, so the fault may be there" in found.summary


def test_the_part_after_a_fault_gives_the_result_of_the_whole_graph(harness: Harness, narrow: BuiltModel) -> None:
    copy, _ = inject(harness, "weights scaled by 0.1 %", "conv4a")
    path = copy.write(copy.model, harness.graph.folder / "whole.onnx")
    spec = make_run_spec(load_artifact(path), ParityOptions(), narrow)
    *_, whole = evaluate(run_model(spec, harness.golden.inputs), harness.golden, ParityOptions()).comparisons
    cut = harness.run(copy, harness.batches(("random", "video")))
    assert (whole.input, whole.passed) == (cut.batch.name, cut.passed) == ("random + video", False)
    assert cut.budget_used == pytest.approx(whole.budget_used, rel=1e-3)
