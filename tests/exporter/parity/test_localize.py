"""A fault is located at its layer, in graphs of any exporter."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import small_models
from helpers.parity import verify
from onnx import TensorProto, helper

from exporter.parity.localize import first_divergence
from exporter.results import LayerError, Localization

STRANGE = {"x": "in", "scores": "out", **{name: f"v{i * 37 % 11}" for i, name in enumerate(small_models.LAYERS[:-1])}}
SCALED = {
    layer: small_models.scaled(f"w{number}", 1.001) for number, layer in enumerate(("conv1", "conv2", "scores"), 1)
}


def locate(mine: Path, theirs: Path, **options: Any) -> Localization:
    report = verify(mine, theirs, localize=True, **options)
    assert report.localization is not None
    return report.localization


@pytest.mark.parametrize("layer", SCALED)
def test_a_graph_with_the_same_names(layer: str, theirs: Path, tmp_path: Path) -> None:
    found = locate(small_models.network(tmp_path / "m.onnx", change=SCALED[layer]), theirs)
    assert found.first == layer
    assert found.summary.startswith(f"diverges at {layer}: error ")
    assert {trace.matched for trace in found.layers} == {"name"}


@pytest.mark.parametrize("layer", SCALED)
def test_a_graph_with_other_names(layer: str, theirs: Path, tmp_path: Path) -> None:
    found = locate(small_models.network(tmp_path / "m.onnx", change=SCALED[layer], names=STRANGE), theirs)
    assert found.first == layer
    assert [trace.layer for trace in found.layers] == [*small_models.LAYERS]
    before = small_models.LAYERS[: small_models.LAYERS.index(layer)]
    assert [trace.matched for trace in found.layers[: len(before)]] == ["value"] * len(before)
    assert [trace.value for trace in found.layers[: len(before)]] == [STRANGE[name] for name in before]


@pytest.mark.parametrize("layer", SCALED)
def test_a_graph_with_channels_last(layer: str, theirs: Path, tmp_path: Path) -> None:
    mine = small_models.network(tmp_path / "m.onnx", change=SCALED[layer], rewrite=small_models.channels_last)
    assert locate(mine, theirs).first == layer


def test_a_fused_graph_whose_relu_has_the_convolutions_name(theirs: Path, tmp_path: Path) -> None:
    mine = small_models.network(tmp_path / "m.onnx", change=SCALED["conv2"], rewrite=small_models.fused)
    found = locate(mine, theirs)
    assert found.first == "relu2"
    assert "agrees up to pool1; the graph does not contain conv2, so the fault may be there" in found.summary
    traces = {trace.layer: trace for trace in found.layers}
    assert (traces["relu1"].value, traces["relu1"].matched) == ("conv1", "value")
    assert traces["conv1"].value is None
    assert traces["relu2"].error == pytest.approx(1e-3, rel=0.1)
    unchanged = locate(small_models.network(tmp_path / "s.onnx", rewrite=small_models.fused), theirs)
    assert unchanged.first is None
    assert unchanged.summary.startswith("no layer diverges (5 of 7 layers seen)")


def test_a_missing_layer_is_named(theirs: Path, tmp_path: Path) -> None:
    def no_relu(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
        for node in nodes:
            node.input[:] = ["conv1" if name == "relu1" else name for name in node.input]
        return [node for node in nodes if node.output[0] != "relu1"]

    found = locate(small_models.network(tmp_path / "m.onnx", rewrite=no_relu), theirs)
    assert found.first == "pool1"
    assert "agrees up to conv1; the graph does not contain relu1, so the fault may be there" in found.summary


def mixing(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Subtract a little of the batch's mean from pool1: zero for a single row, which is its own mean."""
    extra = [
        helper.make_node("ReduceMean", ["pool1", "axis"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["pool1", "mean"], ["apart"]),
        helper.make_node("Mul", ["apart", "little"], ["part"]),
        helper.make_node("Add", ["pool1", "part"], ["mixed"]),
    ]
    place = next(number for number, node in enumerate(nodes) if node.output[0] == "conv2")
    nodes[place].input[0] = "mixed"
    return [*nodes[:place], *extra, *nodes[place:]]


def test_items_of_a_batch_that_interact(theirs: Path, tmp_path: Path) -> None:
    def constants(values: small_models.Weights) -> None:
        values |= {"axis": np.array([0]), "little": np.float32(1e-3)}  # pyright: ignore

    mine = small_models.network(tmp_path / "m.onnx", rewrite=mixing, change=constants)
    found = locate(mine, theirs)
    assert found.first == "conv2"
    assert found.summary.startswith(
        "each input passes on its own, so items of a batch influence each other; diverges at"
    )
    assert " + " in found.input


def test_edge_cases_are_used_only_where_nothing_else_failed(theirs: Path, tmp_path: Path) -> None:
    clean = locate(theirs, theirs, input_types=("nan",))
    assert clean.summary.startswith("no layer diverges (7 of 7 layers seen)")

    def swallow(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
        node = helper.make_node("Where", ["is", "zero", "relu1"], ["sane"])
        nodes[2].input[0] = "sane"
        return [*nodes[:2], helper.make_node("IsNaN", ["relu1"], ["is"]), node, *nodes[2:]]

    mine = small_models.network(
        tmp_path / "m.onnx",
        rewrite=swallow,
        change=lambda values: values.update(zero=np.float32(0)),  # pyright: ignore
    )
    found = locate(mine, theirs)
    assert (found.input, found.first) == ("nan", "pool1")
    assert all(np.isfinite(trace.float32_error) for trace in found.layers)


def test_half_precision_has_its_own_tolerance(theirs: Path, tmp_path: Path) -> None:
    fault = small_models.network(tmp_path / "m.onnx", change=small_models.scaled("w2", 1.1))
    half = small_models.narrowed(fault, tmp_path / "h.onnx", TensorProto.FLOAT16)
    assert locate(half, theirs).first == "conv2"


def test_layers_that_cannot_be_returned_are_reported(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.onnx_io.all_outputs.MAX_MESSAGE_BYTES", 10)
    found = locate(theirs, theirs, input_types=("random",))
    assert (found.layers, found.first) == ((), None)
    assert (
        found.summary
        == f"layers were not compared: {theirs}: larger than 2 GB, so its intermediate values cannot be returned"
    )


def test_an_artifact_that_passed_does_not_diverge() -> None:
    layers = (LayerError("a", "a", "name", 1e-3, 1e-6, 1.5), LayerError("b", "b", "name", 1e-6, 1e-6, 0.1))
    first, summary = first_divergence(layers, passed=True)
    assert first is None
    assert "diverge" not in summary
    assert "a has 1.5 times the error" in summary
    assert first_divergence(layers, passed=False)[0] == "a"
    assert first_divergence(layers[1:], passed=False)[1] == "no layer diverges on this input (1 of 1 layers seen)"
    unseen = (LayerError("a", None, None, None, 1e-6, None),)
    assert first_divergence(unseen, passed=False) == (None, "none of the reference's layers was found in the graph")
