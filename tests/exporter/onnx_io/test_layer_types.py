"""What an ONNX file's layers compute in, by types and not by how weights are stored."""

import numpy as np
import onnx
from helpers.graphs import graph, node, normal
from onnx import TensorProto

from exporter.onnx_io.layer_types import describe_layer_types, find_layer_types

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
