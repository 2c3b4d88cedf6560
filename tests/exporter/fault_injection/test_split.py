"""A model is separated into graph, weights and layers."""

from pathlib import Path

import numpy as np
import pytest
from helpers import graphs
from helpers.tiny import save, weights
from onnx import helper, numpy_helper

from exporter.fault_injection.graph import FaultyGraph, Layer
from exporter.fault_injection.split import split_model, temp_folder


@pytest.mark.parametrize("data", [None, "tiny.data"])
def test_layers_and_weights_are_found(data: str | None, tmp_path: Path) -> None:
    (tmp_path / "split").mkdir()
    original = split_model(save(tmp_path / "tiny.onnx", data=data), tmp_path / "split")
    assert [(layer.name, layer.kind) for layer in original.layers] == [
        ("conv1", "conv"),
        ("conv2", "conv"),
        ("fc6", "linear"),
        ("fc7", "linear"),
        ("fc8", "linear"),
    ]
    for name, values in weights().items():
        np.testing.assert_array_equal(original.weights[name], values)
    assert original.input_shape == (None, 3, 4, 14, 14)
    assert original.outputs == ("logits",)


def test_a_matrix_product_with_a_bias_after_it_is_a_layer_stored_in_out(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3), np.float32)
    constant = numpy_helper.from_array(np.ones(3, np.float32), "b")
    nodes = [
        helper.make_node("Constant", [], ["b"], value=constant),
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "b"], ["y"]),
    ]
    path = graphs.save(tmp_path / "m.onnx", graphs.graph(nodes, {"x": (2, 4)}, {"y": (2, 3)}, {"w": weight}))
    (tmp_path / "split").mkdir()
    original = split_model(path, tmp_path / "split")
    assert original.layers == (Layer("w", "linear", "w", "b", "y", "xw", transposed=True),)
    assert original.shape(original.layers[0]) == (3, 4)
    faulty = FaultyGraph(original)
    changed = faulty.weight(original.layers[0])
    changed.reshape(-1)[5] = 7  # the copy is contiguous, so this changes the copy itself
    faulty.set_weight(original.layers[0], changed)
    assert faulty.changed["w"][1, 1] == 7


@pytest.mark.parametrize(("free", "in_memory"), [("enough", True), ("little", False), ("no such folder", False)])
def test_the_weights_are_kept_in_memory_where_that_is_possible(
    free: str, in_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "memory"
    if free != "no such folder":
        memory.mkdir()
    monkeypatch.setattr("exporter.fault_injection.split.MEMORY_FOLDER", memory)
    monkeypatch.setattr("exporter.fault_injection.split.FREE_SPACE_FACTOR", 2**60 if free == "little" else 1)
    assert (temp_folder(save(tmp_path / "tiny.onnx")) == memory) is in_memory
