"""Where QuantizeLinear and DequantizeLinear are inserted, and which layers are left."""

from typing import Any

import numpy as np
import onnx
from helpers.graphs import graph, node, normal, rewrite

from exporter.passes.quantize.qdq import QuantizeDequantize, Scheme


def network(opset: int = 17) -> onnx.ModelProto:
    weights: dict[str, Any] = {
        "w1": normal(4, 3, 3, 3),
        "b1": normal(4),
        "w2": normal(4 * 6 * 6, 8) / 10,
        "w3": normal(8, 8),
        "shared": normal(8, 8),
    }
    nodes = [
        node("Conv", "x w1 b1", "c", pads=[1] * 4),
        node("Relu", "c", "r"),
        node("Flatten", "r", "f"),
        node("MatMul", "f w2", "m"),
        node("Gemm", "m w3", "g", alpha=2.0),
        node("MatMul", "g shared", "a"),
        node("MatMul", "a shared", "b"),
        node("MatMul", "b b", "y"),
    ]
    return graph(nodes, {"x": (8, 3, 6, 6)}, {"y": (8, 8)}, weights, opset)


RANGES = {"x": (-4.0, 4.0), "f": (0.0, 20.0), "m": (-60.0, 60.0), "g": (-300.0, 300.0), "a": (-900.0, 900.0)}


def operators(model: onnx.ModelProto, value: str) -> list[str]:
    """Return the operators between a layer's first input and the layer before it."""
    producers = {name: made for made in model.graph.node for name in made.output}
    layer = producers[value]
    found: list[str] = []
    current = producers.get(layer.input[0])
    while current is not None and current.op_type not in ("Conv", "MatMul", "Gemm", "Relu"):
        found.append(current.op_type)
        current = producers.get(current.input[0])
    return found


def test_each_layer_has_a_pair_at_its_input() -> None:
    done = rewrite(QuantizeDequantize(Scheme(RANGES)), network())
    assert operators(done.model, "c") == ["DequantizeLinear", "QuantizeLinear"]
    assert operators(done.model, "m") == ["DequantizeLinear", "QuantizeLinear", "Flatten"]
    assert operators(done.model, "g") == []  # it scales
    assert operators(done.model, "y") == []  # no constant weight
    assert {row.node: row.action for row in done.step.decisions} == {f"{name}.node": "int8" for name in "cmab"}
    assert done.weight("w1").dtype == np.int8
    assert done.weight("w3").dtype == np.float32


def test_unsigned_activations_are_quantised_before_a_reshape() -> None:
    done = rewrite(QuantizeDequantize(Scheme(RANGES, "uint8", quantize_bias=True)), network())
    assert operators(done.model, "m") == ["DequantizeLinear", "Flatten", "QuantizeLinear"]
    assert done.weight("b1").dtype == np.int32


def test_values_without_a_range_and_raised_layers_stay() -> None:
    step = QuantizeDequantize(Scheme({"x": (-4.0, 4.0), "f": (0.0, 20.0)}, raised=frozenset({"m.node"})))
    done = rewrite(step, network())
    reasons = {row.node: row.reason for row in step.decisions if row.action == "left in fp32"}
    assert reasons == {
        "m.node": "int8 would cost too much accuracy here",
        "a.node": "the range of its input was not measured",
        "b.node": "the range of its input was not measured",
    }
    assert done.operators.count("QuantizeLinear") == 1
