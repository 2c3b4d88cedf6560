"""Faults planted in an artifact, one at a time: every one is found, and the sound artifact passes."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from exporter.parity.inputs import InputPool
from exporter.parity.judge import judge
from exporter.parity.localize import localize
from exporter.parity.reference import Subject, load_subject
from exporter.parity.trials import ask
from exporter.parity.truth import Truth
from exporter.parity.verify import trial_of
from exporter.pipeline import ParityFailedError, export
from exporter.types import ExportRequest, ParityOptions
from exporter.verdicts import ParityReport
from models import build
from models.spec import NetworkConfig

Graph = onnx.GraphProto
Weights = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact with its weights in a file of their own, so that a faulty copy costs kilobytes."""
    folder = tmp_path_factory.mktemp("split")
    request = ExportRequest(("onnx",), output_dir=folder, verify=False, external_data=True, outputs=("logits", "fc6"))
    return export(request).artifacts[0].path


@pytest.fixture(scope="module")
def two_clips(truth: Truth) -> Truth:
    """A random clip and the real one: what a fault must show in."""
    pool, places = truth.pool, [truth.pool.names.index(name) for name in ("random", "video")]
    few = Truth(truth.source, InputPool(pool.take(places), ("random", "video")))
    few.adopt(truth, places)
    return few


def verdict(path: Path, truth: Truth) -> ParityReport:
    options = ParityOptions()
    return judge(ask(trial_of(load_subject(path), options, NetworkConfig()), truth.pool), truth, options)


def weights(name: str, change: Weights) -> Callable[[Graph, Path], None]:
    def plant(graph: Graph, folder: Path) -> None:
        tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
        value = numpy_helper.to_array(tensor, base_dir=str(folder)).copy()
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(value), dtype=np.float32), name))

    return plant


def no_relu(name: str) -> Callable[[Graph, Path], None]:
    def plant(graph: Graph, _folder: Path) -> None:
        relu = next(node for node in graph.node if node.name == name)
        for node in graph.node:
            node.input[:] = [relu.input[0] if value == relu.output[0] else value for value in node.input]
        graph.node.remove(relu)

    return plant


def pool5_right(graph: Graph, _folder: Path) -> None:
    pool = next(node for node in graph.node if node.name == "pool5")
    for attribute in pool.attribute:
        if attribute.name == "pads":
            attribute.ints[:] = [0, 0, 0, 0, 1, 1]


def one_weight(value: NDArray[np.float32]) -> NDArray[np.float32]:
    value.reshape(-1)[np.abs(value).argmax()] *= 1.01
    return value


def bfloat16(value: NDArray[np.float32]) -> NDArray[np.float32]:
    return (value.view(np.uint32) + 0x8000 & 0xFFFF0000).astype(np.uint32).view(np.float32)


def other_flatten(value: NDArray[np.float32]) -> NDArray[np.float32]:
    return value.reshape(4096, 512, 4, 4).transpose(0, 2, 3, 1).reshape(4096, 8192)


FAULTS: dict[str, Callable[[Graph, Path], None]] = {
    "conv1 scaled by 1 %": weights("conv1.weight", lambda w: w * 1.01),
    "conv4b scaled by 1 %": weights("conv4b.weight", lambda w: w * 1.01),
    "fc7 scaled by 1 %": weights("fc7.weight", lambda w: w * 1.01),
    "fc8 scaled by 1 %": weights("fc8.weight", lambda w: w * 1.01),
    "one weight of conv2 changed by 1 %": weights("conv2.weight", one_weight),
    "conv5b's bias dropped": weights("conv5b.bias", lambda b: b * 0),
    "a channel of conv3a zeroed": weights("conv3a.weight", lambda w: w * (np.arange(256) != 7)[:, None, None, None, None]),
    "ReLU after conv3a dropped": no_relu("conv3a.relu"),
    "ReLU after fc7 dropped": no_relu("fc7.relu"),
    "the other pool5": pool5_right,
    "BGR for RGB": weights("conv1.weight", lambda w: w[:, ::-1]),
    "kernels flipped": weights("conv3b.weight", lambda w: w[:, :, ::-1, ::-1, ::-1]),
    "fc6 flattened in the other order": weights("fc6.weight", other_flatten),
    "conv2 rounded to bfloat16": weights("conv2.weight", bfloat16),
    "classes permuted": weights("fc8.weight", lambda w: w[::-1]),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_fails(fault: str, split: Path, two_clips: Truth) -> None:
    model = onnx.load(split, load_external_data=False)
    FAULTS[fault](model.graph, split.parent)
    path = split.with_name("faulty.onnx")
    onnx.save(model, path)
    report = verdict(path, two_clips)
    assert not report.passed
    assert all(not row.passed for row in report.comparisons if row.output == "logits")


@pytest.mark.parametrize(
    ("fault", "layer"),
    [
        ("one weight of conv2 changed by 1 %", "conv2"),
        ("ReLU after conv3a dropped", "conv3b"),
        ("the other pool5", "pool5"),
        ("classes permuted", "fc8"),
    ],
)
def test_a_planted_fault_is_localised(fault: str, layer: str, split: Path, two_clips: Truth) -> None:
    model = onnx.load(split, load_external_data=False)
    FAULTS[fault](model.graph, split.parent)
    for node in model.graph.node:  # nothing to match by but the values
        for names in (node.input, node.output):
            names[:] = [re.sub(r"^(.*)\.out$", lambda found: f"v{hash(found[1]) % 99999}", name) for name in names]
    path = split.with_name("unnamed.onnx")
    onnx.save(model, path)
    report = verdict(path, two_clips)
    found = localize(trial_of(load_subject(path), ParityOptions(), NetworkConfig()), report, two_clips)
    assert found.first == layer
    assert f"leaves the truth at {layer}" in found.sentence


def test_the_sound_artifact_passes(split: Path, two_clips: Truth) -> None:
    report = verdict(split, two_clips)
    assert report.passed
    assert [(row.input, row.output) for row in report.comparisons] == [
        (name, output) for name in ("random", "video", "random + video") for output in ("logits", "fc6")
    ]  # fmt: skip


def test_a_torchscript_file_of_other_weights_fails(tmp_path: Path, two_clips: Truth) -> None:
    other = export(ExportRequest(("torchscript",), output_dir=tmp_path, verify=False, seed=1)).artifacts[0]
    subject = Subject(other.path, "torchscript", other.manifest, ())
    options = ParityOptions()
    assert not judge(ask(trial_of(subject, options, NetworkConfig()), two_clips.pool), two_clips, options).passed


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_torchscript_file_of_others_is_judged_by_the_network_named(tmp_path: Path, two_clips: Truth) -> None:
    network = build(12, seed=4).network
    torch.jit.save(torch.jit.script(network), str(tmp_path / "theirs.pt"))  # pyright: ignore
    subject = load_subject(tmp_path / "theirs.pt")
    assert subject.manifest is None
    answers = ask(trial_of(subject, ParityOptions(), NetworkConfig(12)), two_clips.pool)
    assert [outputs["logits"].shape for _, outputs in answers.batches] == [(1, 12), (1, 12), (2, 12)]


def test_an_artifact_that_fails_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build(seed=0).network
    network.conv3a.weight.data *= 1.01
    from exporter.formats.prepare import prepare

    monkeypatch.setattr("exporter.pipeline.prepare", lambda _network, outputs: prepare(network, outputs))  # pyright: ignore
    (tmp_path / "c3d.onnx").write_text("an older artifact")
    with pytest.raises(ParityFailedError, match="parity failed for c3d.onnx; nothing was published") as caught:
        export(ExportRequest(("onnx",), output_dir=tmp_path))
    assert caught.value.exit_code == 1
    assert not caught.value.reports[0].passed
    assert [path.name for path in tmp_path.iterdir()] == ["c3d.onnx"]
    assert (tmp_path / "c3d.onnx").read_text() == "an older artifact"
