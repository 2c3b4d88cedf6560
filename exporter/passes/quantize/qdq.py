"""Inserts QuantizeLinear and DequantizeLinear, so that an engine computes convolutions and linear layers in int8.

*Given* `y = layer(x, W, b)` in float32 and the range of `x`. *Result*
`y = layer(Dequantize(Quantize(x)), Dequantize(Wq), b)`: the weight is stored in int8 with a scale for each output
channel, the bias stays float32, and the output is not quantised, so that an engine may join it with the ReLU, pool or
sum that follows before the next layer quantises its input. Each layer has a pair of nodes of its own.
*Algebra*: see `exporter.passes.quantize.arithmetic`. *Source*: NVIDIA, *Working with quantized types* (TensorRT's
documentation): quantise the inputs of weighted operations, not their outputs; int8 with zero point 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import onnx_ir as ir

from exporter.passes.base import GraphPass, add_initializer, remove_unused_initializers, used_names
from exporter.passes.names import unused_name
from exporter.passes.quantize.arithmetic import quantize_weight, symmetric_scale, unsigned_scale
from exporter.passes.quantize.layers import WEIGHT, Layer, find_layers

Activations = Literal["int8", "uint8"]
SCALES = {"int8": symmetric_scale, "uint8": unsigned_scale}


class QuantizeDequantize(GraphPass):
    """Convolutions and linear layers compute in int8."""

    name = "quantize-dequantize"
    condition = "A Conv, Gemm or MatMul with a constant weight, whose input has a measured range."
    reason = "int8 takes a quarter of the memory, and processors with instructions for it multiply it faster."

    def __init__(
        self,
        ranges: Mapping[str, tuple[float, float]],
        activations: Activations = "int8",
        raised: frozenset[str] = frozenset(),
    ) -> None:
        """Make the pass.

        Args:
            ranges: {activation: (lowest, highest)}.
            activations: their type; `int8` is symmetric, `uint8` has a zero point.
            raised: names of layers that stay in float32.
        """
        super().__init__()
        self.ranges, self.activations, self.raised = ranges, activations, raised

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        modified = False
        for layer in find_layers(model):
            if layer.name in self.raised:
                self.decide(layer.node, "left in fp32", "int8 would cost too much accuracy here")
            elif str(layer.source.name) not in self.ranges:
                self.decide(layer.node, "left in fp32", "the range of its input was not measured")
            else:
                self._quantize(model, layer)
                self.decide(layer.node, "int8", "a scale for each output channel, and one for its input")
                modified = True
        return modified

    def _quantize(self, model: ir.Model, layer: Layer) -> None:
        prefix = layer.name
        low, high = self.ranges[str(layer.source.name)]
        numbers = SCALES[self.activations](low, high)
        scale = add_initializer(model, f"{prefix}.input.scale", ir.tensor(numbers.scale))
        zero = add_initializer(model, f"{prefix}.input.zero_point", ir.tensor(numbers.zero_point))
        quantized = _insert(model, layer.node, "QuantizeLinear", [layer.source, scale, zero], f"{prefix}.quantize")
        restored = _insert(model, layer.node, "DequantizeLinear", [quantized, scale, zero], f"{prefix}.dequantize")
        restored.shape, restored.type = layer.source.shape, layer.source.type
        layer.node.replace_input_with(0, restored)

        old = layer.node.inputs[WEIGHT]
        assert old is not None
        name, (values, scales) = str(old.name), quantize_weight(layer.weight, layer.axis)
        layer.node.replace_input_with(WEIGHT, None)
        remove_unused_initializers(model, [old])
        stored = add_initializer(model, name, ir.tensor(values))
        weight_scale = add_initializer(model, f"{name}.scale", ir.tensor(scales))
        weight = _insert(
            model, layer.node, "DequantizeLinear", [stored, weight_scale], f"{name}.dequantize", axis=layer.axis
        )
        weight.shape, weight.type = ir.Shape(values.shape), ir.TensorType(ir.DataType.FLOAT)
        layer.node.replace_input_with(WEIGHT, weight)


def _insert(
    model: ir.Model, before: ir.Node, operator: str, inputs: list[ir.Value], name: str, **attributes: int
) -> ir.Value:
    """Insert a node and return its output, which is called `<name>.out`."""
    used = used_names(model)
    attached = [ir.AttrInt64(key, number) for key, number in attributes.items()]
    node = ir.Node("", operator, inputs, attached, num_outputs=1, name=unused_name(used, name))
    node.outputs[0].name = unused_name(used, f"{name}.out")
    model.graph.insert_before(before, node)
    return node.outputs[0]
