"""A faulty copy cut in front of its fault answers as the whole copy does."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.tiny import clips, save

from exporter.engines import RuntimeOptions, find_engine
from exporter.fault_injection.faults import FAULTS
from exporter.fault_injection.graph import FaultyGraph, OriginalGraph
from exporter.fault_injection.split import split_model
from exporter.fault_injection.suffix import extract_suffix

VALUES = ("clip", "conv1.out", "conv2.relu.out", "fc6.out", "logits")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> OriginalGraph:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "apart").mkdir()
    return split_model(save(folder / "tiny.onnx", data="tiny.data"), folder / "apart")


def answer(path: Path, feeds: "dict[str, np.ndarray]") -> "dict[str, np.ndarray]":  # type: ignore[type-arg]
    with find_engine("onnx").open(path, RuntimeOptions()) as runtime:
        return runtime.run(feeds)


def test_every_fault_answers_the_same_cut_and_whole(original: OriginalGraph) -> None:
    feeds = {"clip": clips()}
    values = {**feeds, **answer(original.all_outputs, feeds)}
    count = shorter = 0
    for kind in FAULTS:
        for place in kind.find_sites(original):
            copy = FaultyGraph(original)
            place.inject(copy, np.random.default_rng(0))
            whole = answer(copy.write(copy.model, original.folder / "whole.onnx"), feeds)["logits"]
            tail = extract_suffix(copy, values)
            assert not tail.original  # the only output is behind every fault
            given = {name: values[known] for name, known in tail.feeds.items()}
            part = answer(copy.write(tail.model, original.folder / "tail.onnx"), given)["logits"]
            assert np.allclose(part, whole, rtol=1e-5, atol=1e-6, equal_nan=True), f"{kind.name}, {place.where}"
            assert part.shape == (2, 5)
            count += 1
            shorter += len(tail.model.graph.node) < len(copy.graph.node)
    assert count > 200
    assert shorter > 150


def test_only_what_is_behind_the_fault_is_computed(original: OriginalGraph) -> None:
    values = {"clip": clips(), **answer(original.all_outputs, {"clip": clips()})}
    copy = FaultyGraph(original)
    copy.set("fc7.bias", np.zeros(8, np.float32))
    tail = extract_suffix(copy, values)
    assert [node.name for node in tail.model.graph.node] == ["fc7", "fc7.relu", "fc8"]
    assert tail.feeds == {"fc6.relu.out": "fc6.relu.out"}
    assert tail.intact("conv2.out")
    assert not tail.intact("fc7.out")


def test_a_value_that_was_renamed_is_still_known(original: OriginalGraph) -> None:
    values = {"clip": clips(), **answer(original.all_outputs, {"clip": clips()})}
    copy = FaultyGraph(original)
    copy.wrap("pool1.out", lambda copy, x: copy.emit("Mul", x, copy.constant(2)))
    tail = extract_suffix(copy, values)
    assert tail.feeds == {"pool1.out.before": "pool1.out"}
    assert not tail.intact("pool1.out")


def test_weights_are_shared_and_only_changed_ones_are_written(original: OriginalGraph) -> None:
    copy = FaultyGraph(original)
    copy.set("fc7.weight", np.ones((8, 8), np.float32))
    model = onnx.load(copy.write(copy.model, original.folder / "shared.onnx"), load_external_data=False)
    inside = {tensor.name for tensor in model.graph.initializer if tensor.raw_data and len(tensor.raw_data) >= 256}
    assert inside == {"fc7.weight"}
    with pytest.raises(ValueError, match=r"fc7.weight is \(8, 8\), not \(8,\)"):
        copy.set("fc7.weight", np.ones(8))
