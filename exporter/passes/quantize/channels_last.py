"""Computes quantised 3-D convolutions in onnxruntime's own int8 operators, with channels last.

*Given* `Conv(Dequantize(xq), Dequantize(Wq), Dequantize(bq))`, ReLU and MaxPool, as `QuantizeDequantize` leaves them
with uint8 activations. *Result*: xq transposed to channels last, the operators of `conv_variant`, and a Transpose back,
which cancels with that of the next layer. Where every reader quantises the result in the same way, it stays in uint8;
otherwise a DequantizeLinear follows. *Algebra*: QLinearConv is defined as that graph, but rounds the result once more;
quantisation is monotone, so that it commutes with a maximum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.base import GraphPass
from exporter.passes.builder import Builder
from exporter.passes.cancel_transposes import FIRST, LAST
from exporter.passes.conv_pattern import ConvMatch, match_volumes
from exporter.passes.graph import add_initializer, display_name, find_nodes, read_array, remove_unused_initializers
from exporter.passes.quantize.conv_variant import CONTRIB, ConvNumbers, ConvVariant, emit
from exporter.passes.quantize.layers import BIAS, WEIGHT
from exporter.passes.quantize.qdq import Scheme

Pair = tuple[ir.Value, ir.Value]
"""Scale and zero point."""


class ChannelsLastInt8(GraphPass):
    """Quantised 3-D convolutions, with ReLU and max pool, run in uint8 with channels last."""

    name = "channels-last-int8"
    condition = "A 3-D Conv in one group of a quantised input of known size."
    reason = "onnxruntime computes it in int8 without converting to float32 and without transposing between layers."

    def __init__(
        self, scheme: Scheme, variants: Mapping[str, ConvVariant], times: Mapping[str, float] | None = None
    ) -> None:
        """Make the pass.

        Args:
            scheme: how the layers were quantised; with the range of each convolution's result.
            variants: {convolution: how it is computed}; those that are missing stay.
            times: {convolution: measured milliseconds}, for the decisions.
        """
        super().__init__()
        self.scheme, self.variants, self.times = scheme, variants, times or {}

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        modified = False
        for conv in find_nodes(model, "Conv"):
            match, variant = match_volumes(conv), self.variants.get(display_name(conv))
            if match is None or variant is None or not _is_quantized(conv):
                continue
            readers = _quantizing_readers(match.result)
            if not readers and str(match.result.name) not in self.scheme.ranges:
                self.decide(conv, "left with Q/DQ", "the range of its result was not measured")
                continue
            modified = self._replace(model, match, variant, readers) or modified
        if modified and CONTRIB not in model.graph.opset_imports:
            model.graph.opset_imports[CONTRIB] = 1
        return modified

    def _replace(self, model: ir.Model, match: ConvMatch, variant: ConvVariant, readers: list[ir.Node]) -> bool:
        conv, result, name = match.nodes[0], match.result, display_name(match.nodes[0])
        pair = _pair(readers[0]) if readers else self._result_pair(model, name, str(result.name))
        if match.has_relu and read_array(pair[1]) != 0:
            self.decide(
                conv, "left with Q/DQ", "the zero point of its result is not 0, so that its ReLU is not implied"
            )
            return False
        activation = conv.inputs[0].producer() if conv.inputs[0] is not None else None
        assert activation is not None
        assert activation.inputs[0] is not None
        weight_name, weight, scale = _take_constant(model, conv, WEIGHT)
        bias_name, bias = "", None
        if len(conv.inputs) > BIAS and conv.inputs[BIAS] is not None:
            bias_name, bias, _ = _take_constant(model, conv, BIAS)
        builder = Builder(model, f"{name}.int8")
        numbers = ConvNumbers(_pair(activation), pair, weight, scale, bias, (weight_name, bias_name))
        x = builder.op("Transpose", "channels_last", activation.inputs[0], perm=LAST)
        y = builder.op("Transpose", "channels_first", emit(builder, x, match, numbers, variant), perm=FIRST)
        new = builder.op("DequantizeLinear", "dequantize", y, *pair)
        y.shape, y.type = result.shape, ir.TensorType(ir.DataType.UINT8)
        ir.convenience.replace_nodes_and_values(
            model.graph, match.nodes[-1], match.nodes, builder.nodes, [result], [new]
        )
        for reader in readers:
            reader.outputs[0].replace_all_uses_with(y)
            model.graph.remove(reader, safe=True)
        milliseconds = self.times.get(name)
        self.decide(conv, str(variant), "int8 with channels last", measured_ms=milliseconds, replaces=True)
        return True

    def _result_pair(self, model: ir.Model, name: str, result: str) -> Pair:
        numbers = self.scheme.scale(result)
        return (
            add_initializer(model, f"{name}.output.scale", ir.tensor(numbers.scale)),
            add_initializer(model, f"{name}.output.zero_point", ir.tensor(numbers.zero_point)),
        )


def _is_quantized(conv: ir.Node) -> bool:
    """Return whether every input of a Conv is dequantised."""
    producers = [value.producer() for value in conv.inputs if value is not None]
    return all(node is not None and node.op_type == "DequantizeLinear" for node in producers)


def _quantizing_readers(value: ir.Value) -> list[ir.Node]:
    """Return the readers of a value if all of them quantise it in the same way, otherwise []."""
    readers = [use.node for use in value.uses()]
    if value.is_graph_output() or any(node.op_type != "QuantizeLinear" for node in readers):
        return []
    found = {tuple(float(read_array(part)) for part in _pair(node)) for node in readers}
    return readers if len(found) == 1 else []


def _pair(node: ir.Node) -> Pair:
    """Return scale and zero point of a QuantizeLinear or DequantizeLinear."""
    _, scale, zero_point = node.inputs
    assert scale is not None
    assert zero_point is not None
    return scale, zero_point


def _take_constant(model: ir.Model, conv: ir.Node, index: int) -> tuple[str, NDArray[Any], NDArray[Any]]:
    """Remove a dequantised constant from a Conv and the graph, and return its name, integers and scales."""
    restored = conv.inputs[index]
    node = restored.producer() if restored is not None else None
    assert node is not None
    inputs = list(node.inputs)
    values, scales = (read_array(value) for value in inputs[:2] if value is not None)
    conv.replace_input_with(index, None)
    if not node.outputs[0].uses():
        model.graph.remove(node, safe=True)
        remove_unused_initializers(model, inputs)
    return str(inputs[0].name) if inputs[0] is not None else "", values, scales
