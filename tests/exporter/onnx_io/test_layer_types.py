"""What an ONNX file's layers compute in, by types and not by how weights are stored."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import graph, node, normal, save
from onnx import TensorProto

from exporter.onnx_io.layer_types import describe_layer_types, find_layer_types, has_float16_layers

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT
W = normal(6, 6)


def model(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    weights = {"w": W, "h": W.astype(np.float16), "q": W.astype(np.int8), "s": np.array(0.1, np.float32)}
    return graph(nodes, {"x": ("n", 6)}, {"y": ("n", 6)}, weights, 17)


def test_the_type_of_each_layer() -> None:
    nodes = [
        node("Gemm", "x w", "a"),
        node("Cast", "a", "b", to=HALF),
        node("MatMul", "b h", "c"),
        node("MatMul", "c h", "d"),
        node("Cast", "d", "e", to=FLOAT),
        node("QuantizeLinear", "e s zero", "f"),
        node("DequantizeLinear", "f s zero", "g"),
        node("DequantizeLinear", "q s zero", "v"),
        node("MatMul", "g v", "y"),
    ]
    made = model(nodes)
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0, np.int8), "zero"))
    assert find_layer_types(made) == {
        "a.node": "float32",
        "c.node": "float16",
        "d.node": "float16",
        "y.node": "int8",
    }
    assert describe_layer_types(made) == "float16 (2 layers), float32 (1 layer: a.node), int8 (1 layer: y.node)"


def test_weights_that_are_only_stored_in_fewer_bits_do_not_count() -> None:
    stored = model([node("Cast", "h", "v", to=FLOAT), node("MatMul", "x v", "y")])
    assert describe_layer_types(stored) == "float32 (1 layer)"
    assert describe_layer_types(model([node("Relu", "x", "y")])) == ""


HALF_TENSOR = onnx.numpy_helper.from_array(np.zeros(1, np.float16))
LAYER = node("MatMul", "a a", "b")
SOURCES = {
    "a cast": [node("Cast", "x", "a", to=HALF), LAYER],
    "a weight": [node("MatMul", "h h", "b")],
    "a constant": [node("Constant", "", "c", value=HALF_TENSOR), node("CastLike", "x c", "a"), LAYER],
    "a fill": [node("Shape", "x", "n"), node("ConstantOfShape", "n", "a", value=HALF_TENSOR), LAYER],
    "random numbers": [node("RandomNormal", "", "a", shape=[6, 6], dtype=HALF), LAYER],
}


@pytest.mark.parametrize("source", SOURCES)
def test_float16_is_found_whatever_it_comes_from(source: str, tmp_path: Path) -> None:
    made = model([*SOURCES[source], node("Cast", "b", "y", to=FLOAT)])
    if source != "a weight":
        del made.graph.initializer[1]
    assert has_float16_layers(save(tmp_path / "m.onnx", made))


def test_float16_of_an_input_is_found(tmp_path: Path) -> None:
    made = model([node("MatMul", "x h", "y")])
    del made.graph.initializer[1]
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.elem_type = HALF
    made.graph.input.append(onnx.helper.make_tensor_value_info("h", HALF, [6, 6]))
    assert has_float16_layers(save(tmp_path / "m.onnx", made))


def test_float16_that_a_custom_operator_returns_is_found_where_it_is_stated(tmp_path: Path) -> None:
    made = model([node("Half", "x", "a", domain="my"), node("MatMul", "a a", "y")])
    del made.graph.initializer[:]
    made.opset_import.append(onnx.helper.make_opsetid("my", 1))
    made.graph.value_info.append(onnx.helper.make_tensor_value_info("a", HALF, [6, 6]))
    assert has_float16_layers(save(tmp_path / "m.onnx", made))


def test_types_are_not_inferred_where_nothing_is_float16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = model([node("MatMul", "x w", "y")])
    del made.graph.initializer[1]
    monkeypatch.setattr("exporter.onnx_io.layer_types.infer_element_types", None)
    assert not has_float16_layers(save(tmp_path / "m.onnx", made))
