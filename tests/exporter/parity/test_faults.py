"""Faults planted in an artifact, one at a time: every one is found, and the sound artifact passes."""

import re
import zlib
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from conftest import ExportedByCommand

from exporter.parity.inputs import InputPool
from exporter.parity.judge import judge
from exporter.parity.localize import localize
from exporter.parity.reference import load_subject
from exporter.parity.trials import ask
from exporter.parity.truth import Truth
from exporter.parity.verify import trial_of
from exporter.pipeline import ParityFailedError, export
from exporter.selftest.apart import read_apart
from exporter.selftest.bench import Bench
from exporter.selftest.faults import FAULTS
from exporter.selftest.graph import Copy
from exporter.selftest.runner import planned
from exporter.types import ExportRequest, ParityOptions
from models.builder import BuiltNetwork
from models.spec import NetworkConfig


@pytest.fixture(scope="module")
def two_clips(truth: Truth) -> Truth:
    """A random clip and the real one: what a fault must show in."""
    pool, places = truth.pool, [truth.pool.names.index(name) for name in ("random", "video")]
    few = Truth(truth.source, InputPool(pool.take(places), ("random", "video")))
    few.adopt(truth, places)
    return few


@pytest.fixture(scope="module")
def bench(exported: ExportedByCommand, two_clips: Truth, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The artifact read apart, so that a faulty copy costs kilobytes and only runs from its fault on."""
    graph = read_apart(exported.onnx, tmp_path_factory.mktemp("apart"))
    trial = trial_of(load_subject(exported.onnx), ParityOptions(), NetworkConfig())
    with trial.open(trial.settings) as runtime:
        return Bench(graph, trial, trial.match(runtime.signature), two_clips, runtime.title)


def planted(bench: Bench, kind: str, where: str) -> tuple[Copy, str | None]:
    """Return a copy with one fault of the self-test's table, and the value that goes wrong first."""
    (fault,) = [
        fault for fault in planned(bench, [row for row in FAULTS if row.name == kind]) if fault.place.where == where
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
def test_a_planted_fault_fails(kind: str, where: str, bench: Bench) -> None:
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
def test_a_planted_fault_is_localised(kind: str, where: str, layer: str, how: str, bench: Bench) -> None:
    copy, value = planted(bench, kind, where)
    assert value is not None
    (batch,) = bench.batches(("random", "video"))
    assert bench.locate(copy, value, batch) == (how, layer)


def test_a_fault_is_localised_by_values_alone_and_as_the_command_does(bench: Bench) -> None:
    copy, _ = planted(bench, "ReLU dropped", "conv3a.relu")
    for node in copy.graph.node:  # nothing to match by but the values
        for names in (node.input, node.output):
            names[:] = [
                re.sub(r"^(.*)\.out$", lambda found: f"v{zlib.crc32(found[1].encode())}", name) for name in names
            ]
    path = copy.write(copy.model, bench.graph.folder / "unnamed.onnx")
    trial = trial_of(load_subject(path), ParityOptions(), NetworkConfig())
    report = judge(ask(trial, bench.truth.pool), bench.truth, ParityOptions())
    assert [(row.input, row.passed) for row in report.comparisons] == [
        ("random", False), ("video", False), ("random + video", False),
    ]  # fmt: skip
    found = localize(trial, report, bench.truth)
    assert found.first == "conv3b"
    assert "the graph does not show conv3a.relu, so the fault may be there" in found.sentence


def test_a_copy_cut_in_front_of_its_fault_gets_the_verdict_of_the_whole(bench: Bench) -> None:
    copy, _ = planted(bench, "weights scaled by 0.1 %", "conv4a")
    path = copy.write(copy.model, bench.graph.folder / "whole.onnx")
    trial = trial_of(load_subject(path), ParityOptions(), NetworkConfig())
    *_, whole = judge(ask(trial, bench.truth.pool), bench.truth, ParityOptions()).comparisons
    cut = bench.verdict(copy, bench.batches(("random", "video")))
    assert (whole.input, whole.passed) == (cut.batch.name, cut.passed) == ("random + video", False)
    assert cut.share == pytest.approx(whole.share, rel=1e-3)


def test_the_sound_artifact_passes(bench: Bench) -> None:
    report = judge(ask(bench.trial, bench.truth.pool), bench.truth, ParityOptions())
    assert report.passed
    assert [row.input for row in report.comparisons] == ["random", "video", "random + video"]


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_torchscript_file_of_other_weights_fails(tmp_path: Path, two_clips: Truth, built: BuiltNetwork) -> None:
    other = deepcopy(built.network)
    other.conv3a.weight.data *= 1.01
    torch.jit.save(torch.jit.script(other), str(tmp_path / "other.pt"))  # pyright: ignore
    subject, options = load_subject(tmp_path / "other.pt"), ParityOptions()
    assert not judge(ask(trial_of(subject, options, NetworkConfig()), two_clips.pool), two_clips, options).passed


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_torchscript_file_of_others_is_judged_by_the_network_named(
    tmp_path: Path, two_clips: Truth, built: BuiltNetwork
) -> None:
    network = deepcopy(built.network)
    network.fc8 = torch.nn.Linear(4096, 12)
    torch.jit.save(torch.jit.script(network), str(tmp_path / "theirs.pt"))  # pyright: ignore
    subject = load_subject(tmp_path / "theirs.pt")
    assert subject.manifest is None
    answers = ask(trial_of(subject, ParityOptions(), NetworkConfig(12)), two_clips.pool)
    assert [outputs["logits"].shape for _, outputs in answers.batches] == [(1, 12), (1, 12), (2, 12)]


def test_an_artifact_that_fails_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: BuiltNetwork, kept_truth: Path
) -> None:
    network = deepcopy(built.network)
    network.conv3a.weight.data *= 1.01
    from exporter.formats.prepare import prepare

    monkeypatch.setattr("exporter.pipeline.prepare", lambda _network, outputs: prepare(network, outputs))  # pyright: ignore
    (tmp_path / "c3d.onnx").write_text("an older artifact")
    with pytest.raises(ParityFailedError, match="parity failed for c3d.onnx; nothing was published") as caught:
        export(ExportRequest(("onnx",), output_dir=tmp_path, parity=ParityOptions(kinds=("random",), cache=kept_truth)))
    assert caught.value.exit_code == 1
    assert not caught.value.reports[0].passed
    assert [path.name for path in tmp_path.iterdir()] == ["c3d.onnx"]
    assert (tmp_path / "c3d.onnx").read_text() == "an older artifact"
