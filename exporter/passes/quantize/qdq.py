"""Inserts QuantizeLinear and DequantizeLinear, so that an engine computes convolutions and linear layers in int8.

*Given* `y = layer(x, W, b)` in float32 and the range of `x`. *Result*
`y = layer(Dequantize(Quantize(x)), Dequantize(Wq), b)`: the weight is stored in int8 with a scale for each output
channel, and the output is not quantised, so that an engine may join it with the ReLU, pool or sum that follows before
the next layer quantises its input. Each layer has a pair of nodes of its own. With uint8 activations, a Flatten or
Reshape between two layers stands between the two nodes of the pair, so that onnxruntime finds the first after the
layer before, and the second before the layer.
*Algebra*: see `exporter.passes.quantize.arithmetic`. *Source*: NVIDIA, *Working with quantized types* (TensorRT's
documentation): quantise the inputs of weighted operations, not their outputs; int8 with zero point 0; the bias stays in
float32. onnxruntime's CPU provider wants uint8 activations, and a linear layer's bias in int32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.base import GraphPass
from exporter.passes.builder import insert_node
from exporter.passes.graph import add_initializer, constant, read_array, replace_constant, single_consumer
from exporter.passes.quantize.arithmetic import Scale, quantize_bias, quantize_weight, symmetric_scale, unsigned_scale
from exporter.passes.quantize.layers import BIAS, WEIGHT, Layer, find_layers

Activations = Literal["int8", "uint8"]
SCALES = {"int8": symmetric_scale, "uint8": unsigned_scale}
RESHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class Scheme:
    """How layers are quantised.

    Attributes:
        ranges: {activation: (lowest, highest)}.
        activations: their type; `int8` is symmetric, `uint8` has a zero point.
        quantize_bias: biases are int32, where they are constant.
        raised: names of layers that stay in float32.
        weight_zero_points: {layer: what stands for 0 in its weight}; 0 for others.
    """

    ranges: Mapping[str, tuple[float, float]]
    activations: Activations = "int8"
    quantize_bias: bool = False
    raised: frozenset[str] = frozenset()
    weight_zero_points: Mapping[str, int] = field(default_factory=dict[str, int])

    def scale(self, activation: str) -> Scale:
        """Return how an activation is quantised."""
        return SCALES[self.activations](*self.ranges[activation])


class QuantizeDequantize(GraphPass):
    """Convolutions and linear layers compute in int8."""

    name = "quantize-dequantize"
    condition = "A Conv, Gemm or MatMul with a constant weight, whose input has a measured range."
    reason = "int8 takes a quarter of the memory, and processors with instructions for it multiply it faster."

    def __init__(self, scheme: Scheme) -> None:
        super().__init__()
        self.scheme = scheme

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        modified = False
        for layer in find_layers(model):
            if layer.name in self.scheme.raised:
                self.decide(layer.node, "left in fp32", "int8 would cost too much accuracy here")
            elif str(layer.source.name) not in self.scheme.ranges:
                self.decide(layer.node, "left in fp32", "the range of its input was not measured")
            else:
                self._quantize(model, layer)
                self.decide(layer.node, "int8", "a scale for each output channel, and one for its input")
                modified = True
        return modified

    def _quantize(self, model: ir.Model, layer: Layer) -> None:
        node, prefix = layer.node, layer.name
        numbers = self.scheme.scale(str(layer.source.name))
        scale = add_initializer(model, f"{prefix}.input.scale", ir.tensor(numbers.scale))
        zero = add_initializer(model, f"{prefix}.input.zero_point", ir.tensor(numbers.zero_point))
        first, value = find_reshapes(layer) if self.scheme.activations == "uint8" else (node, layer.source)
        quantized = insert_node(
            model, first, "QuantizeLinear", [value, scale, zero], f"{prefix}.quantize", value.shape, zero.dtype
        )
        if first is node:
            last = quantized
        else:
            first.replace_input_with(0, quantized)
            last = layer.source
            for reshape in _chain(first, node):
                reshape.outputs[0].type = quantized.type
        inputs = [last, scale, zero]
        restored = insert_node(
            model, node, "DequantizeLinear", inputs, f"{prefix}.dequantize", layer.source.shape, ir.DataType.FLOAT
        )
        node.replace_input_with(0, restored)
        weight_scales = self._quantize_weight(model, layer)
        bias = node.inputs[BIAS] if len(node.inputs) > BIAS else None
        tensor = constant(bias)
        if self.scheme.quantize_bias and tensor is not None and tensor.size == weight_scales.size:
            values, scales = quantize_bias(read_array(bias).ravel(), numbers, weight_scales)
            _dequantize(model, node, BIAS, 0, values=values, scale=scales)

    def _quantize_weight(self, model: ir.Model, layer: Layer) -> NDArray[Any]:
        zero_point = self.scheme.weight_zero_points.get(layer.name, 0)
        weight = layer.weight
        values, scales = quantize_weight(weight, tuple({*range(weight.ndim)} - {layer.axis}), zero_point)
        scales = scales.ravel()
        # always stated: without it, onnxruntime dequantises the weights of a Gemm at each run
        zeros = np.full(scales.shape, zero_point, np.int8)
        _dequantize(model, layer.node, WEIGHT, layer.axis, values=values, scale=scales, zero_point=zeros)
        return scales


def find_reshapes(layer: Layer) -> tuple[ir.Node, ir.Value]:
    """Return the first of the nodes before a layer that only change the shape, or the layer, and what it reads.

    Nodes whose result is read by others too, or is an output of the graph, do not count.
    """
    first, value = layer.node, layer.source
    while (before := value.producer()) is not None and before.op_type in RESHAPES and before.graph is first.graph:
        if single_consumer(value) is None or before.inputs[0] is None or constant(before.inputs[0]) is not None:
            break
        first, value = before, before.inputs[0]
    return first, value


def _chain(first: ir.Node, layer: ir.Node) -> list[ir.Node]:
    nodes = [first]
    while (following := single_consumer(nodes[-1].outputs[0])) is not None and following is not layer:
        nodes.append(following)
    return nodes


def _dequantize(model: ir.Model, node: ir.Node, index: int, axis: int, **tensors: NDArray[Any]) -> None:
    """Replace a weight or bias by its integers, their scales and zero points, and a DequantizeLinear."""
    old = node.inputs[index]
    assert old is not None
    inputs, name = replace_constant(model, node, index, **tensors), f"{old.name}.dequantize"
    restored = insert_node(model, node, "DequantizeLinear", inputs, name, inputs[0].shape, ir.DataType.FLOAT, axis=axis)
    node.replace_input_with(index, restored)
