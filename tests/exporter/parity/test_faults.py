"""Faults planted in an artifact, one at a time: every one is found, and the sound artifact passes."""

import re
import zlib
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import ExportedByCommand

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
from exporter.types import ExportRequest, ParityOptions
from exporter.workflows.candidates import ParityFailedError
from exporter.workflows.export import export
from models.builder import build
from models.built_model import BuiltModel
from models.c3d import C3D, all_outputs
from models.options import BuildOptions


@pytest.fixture(scope="module")
def two_clips(golden: GoldenOutputs) -> GoldenOutputs:
    """A random clip and the real one: what a fault must show in."""
    pool, places = golden.inputs, [golden.inputs.names.index(name) for name in ("random", "video")]
    few = GoldenOutputs(golden.source, InputSet(pool.select(places), ("random", "video")))
    few.reuse(golden, places)
    return few


@pytest.fixture(scope="module")
def bench(
    exported: ExportedByCommand,
    built: BuiltModel,
    two_clips: GoldenOutputs,
    tmp_path_factory: pytest.TempPathFactory,
) -> Harness:
    """The artifact read apart, so that a faulty copy costs kilobytes and only runs from its fault on."""
    graph = split_model(exported.onnx, tmp_path_factory.mktemp("apart"))
    trial = make_run_spec(load_artifact(exported.onnx), ParityOptions(), built)
    with trial.open(trial.settings) as runtime:
        return Harness(graph, trial, trial.map_io(runtime.signature), two_clips, runtime.title)


def planted(bench: Harness, kind: str, where: str) -> tuple[FaultyGraph, str | None]:
    """Return a copy with one fault of the self-test's table, and the value that goes wrong first."""
    (fault,) = [
        fault for fault in list_faults(bench, [row for row in FAULTS if row.name == kind]) if fault.place.where == where
    ]
    return fault.copy(bench, 0), fault.place.value


PLANTED = (
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
    ("conv1 takes BGR for RGB", "conv1"),
    ("kernels flipped on every axis", "conv3b"),
    ("flattened T,H,W,C for C,T,H,W", "fc6"),
    ("weights rounded to bfloat16", "conv2"),
    ("classes in reverse order", "fc8"),
    ("items mixed by 0.1 %", "pool4"),
    ("a NaN among the weights", "conv5a"),
)


@pytest.mark.parametrize(("kind", "where"), PLANTED)
def test_a_planted_fault_fails(kind: str, where: str, bench: Harness) -> None:
    copy, _ = planted(bench, kind, where)
    assert not bench.verdict(copy, bench.batches(("random", "video"))).passed


@pytest.mark.parametrize(
    ("kind", "where", "layer", "how"),
    [
        ("largest weight off by 1 %", "conv2", "conv2", "layer"),
        ("ReLU dropped", "conv3a.relu", "conv3b", "between"),
        ("pool5 of the other convention", "pool5", "pool5", "layer"),
        ("classes in reverse order", "fc8", "fc8", "layer"),
    ],
)
def test_a_planted_fault_is_localised(kind: str, where: str, layer: str, how: str, bench: Harness) -> None:
    copy, value = planted(bench, kind, where)
    assert value is not None
    (batch,) = bench.batches(("random", "video"))
    assert bench.locate(copy, value, batch) == (how, layer)


def test_a_fault_is_localised_by_values_alone_and_as_the_command_does(bench: Harness, built: BuiltModel) -> None:
    copy, _ = planted(bench, "ReLU dropped", "conv3a.relu")
    for node in copy.graph.node:  # nothing to match by but the values
        for names in (node.input, node.output):
            names[:] = [
                re.sub(r"^(.*)\.out$", lambda found: f"v{zlib.crc32(found[1].encode())}", name) for name in names
            ]
    path = copy.write(copy.model, bench.graph.folder / "unnamed.onnx")
    trial = make_run_spec(load_artifact(path), ParityOptions(), built)
    result = run_model(trial, bench.truth.inputs)
    report = evaluate(result, bench.truth, ParityOptions())
    assert [(row.input, row.passed) for row in report.comparisons] == [
        ("random", False),
        ("video", False),
        ("random + video", False),
    ]
    found = localize(result, report, bench.truth)
    assert found.first == "conv3b"
    assert "the graph does not contain conv3a.relu, so the fault may be there" in found.summary


def test_a_copy_cut_in_front_of_its_fault_gets_the_verdict_of_the_whole(bench: Harness, built: BuiltModel) -> None:
    copy, _ = planted(bench, "weights scaled by 0.1 %", "conv4a")
    path = copy.write(copy.model, bench.graph.folder / "whole.onnx")
    trial = make_run_spec(load_artifact(path), ParityOptions(), built)
    *_, whole = evaluate(run_model(trial, bench.truth.inputs), bench.truth, ParityOptions()).comparisons
    cut = bench.verdict(copy, bench.batches(("random", "video")))
    assert (whole.input, whole.passed) == (cut.batch.name, cut.passed) == ("random + video", False)
    assert cut.budget_used == pytest.approx(whole.budget_used, rel=1e-3)


def test_the_sound_artifact_passes(bench: Harness) -> None:
    report = evaluate(run_model(bench.trial, bench.truth.inputs), bench.truth, ParityOptions())
    assert report.passed
    assert [row.input for row in report.comparisons] == ["random", "video", "random + video"]


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_torchscript_file_of_other_weights_fails(tmp_path: Path, two_clips: GoldenOutputs, built: BuiltModel) -> None:
    other = deepcopy(built.network)
    assert isinstance(other, C3D)
    other.conv3a.weight.data *= 1.01
    torch.jit.save(torch.jit.script(other), str(tmp_path / "other.pt"))  # pyright: ignore
    subject, options = load_artifact(tmp_path / "other.pt"), ParityOptions()
    assert not evaluate(run_model(make_run_spec(subject, options, built), two_clips.inputs), two_clips, options).passed


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_torchscript_file_of_others_is_judged_by_the_network_named(
    tmp_path: Path, two_clips: GoldenOutputs, built: BuiltModel
) -> None:
    network = deepcopy(built.network)
    network.fc8 = torch.nn.Linear(4096, 12)
    torch.jit.save(torch.jit.script(network), str(tmp_path / "theirs.pt"))  # pyright: ignore
    subject = load_artifact(tmp_path / "theirs.pt")
    assert subject.manifest is None
    answers = run_model(make_run_spec(subject, ParityOptions(), build(BuildOptions(num_classes=12))), two_clips.inputs)
    assert [outputs["logits"].shape for _, outputs in answers.batches] == [(1, 12), (1, 12), (2, 12)]


def test_an_artifact_that_fails_is_not_published(tmp_path: Path) -> None:
    model = build(BuildOptions(base_channels=8, feature_dim=32, num_classes=5))
    network = deepcopy(model.network)
    assert isinstance(network, C3D)
    network.conv3a.weight.data *= 1.01
    faulty = replace(model, fuse=lambda: all_outputs(network))
    (tmp_path / "c3d.onnx").write_text("an older artifact")
    with pytest.raises(ParityFailedError, match=r"parity failed for c3d\.onnx; nothing was published") as caught:
        export(
            ExportRequest(("onnx",), model=faulty, output_dir=tmp_path, parity=ParityOptions(input_types=("random",)))
        )
    assert caught.value.exit_code == 1
    assert not caught.value.reports[0].passed
    assert [path.name for path in tmp_path.iterdir()] == ["c3d.onnx"]
    assert (tmp_path / "c3d.onnx").read_text() == "an older artifact"
