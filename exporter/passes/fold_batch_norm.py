"""BatchNormalization after a convolution or a linear layer goes into its weights.

*Given* `y = BatchNormalization(Conv(x, W, b), gamma, beta, mean, var)`, or ConvTranspose or Gemm in place of Conv.
*Result*: `y = Conv(x, W', b')`, one operator. *Algebra*, per output channel, with `s = gamma / sqrt(var + epsilon)`:

    y = s (W x + b - mean) + beta,   so   W' = s W,   b' = s (b - mean) + beta

computed in float64 and rounded once to the weights' dtype. Gemm is `alpha A B + beta C`; its `beta` goes into `b'`
and becomes 1. *Source*: Ioffe and Szegedy, *Batch Normalization* (2015), section 3.1, inference; ONNX
BatchNormalization-15. Only float32 and float64 weights: in float16 the product would be rounded where it was not.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.base import (
    GraphPass,
    add_initializer,
    constant,
    nodes_of,
    relative_error,
    remove_unused_initializers,
    single_consumer,
)

LINEAR = ("Conv", "ConvTranspose", "Gemm")
DTYPES = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
EPSILON = 1e-5
"""ONNX's default."""

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class _Parts:
    """What a fold is made of, in float64, and the dtype it is to be rounded to."""

    dtype: np.dtype[Any]
    weight: Doubles
    bias: Doubles | None
    scale: Doubles
    shift: Doubles
    mean: Doubles


class FoldBatchNorm(GraphPass):
    """BatchNormalization goes into the Conv, ConvTranspose or Gemm before it."""

    name = "fold-batch-norm"
    condition = (
        "A BatchNormalization of inference whose input is a Conv, ConvTranspose or Gemm that nothing else reads."
    )
    reason = "It saves a pass over the whole activation, and lets engines fuse the ReLU that follows."

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        modified = False
        for norm in nodes_of(model, "BatchNormalization"):
            refusal = self._refusal(norm)
            if refusal is not None:
                self.decide(norm, "left", refusal)
                continue
            layer = norm.inputs[0].producer()  # pyright: ignore[reportOptionalMemberAccess] - the refusal asked
            assert layer is not None
            error = _fold(model, layer, norm)
            self.decide(norm, "folded", f"into the weights of {layer.name or layer.op_type}", error)
            modified = True
        return modified

    def _refusal(self, norm: ir.Node) -> str | None:
        """Return why a BatchNormalization cannot be folded, or None."""
        training = norm.attributes.get_int("training_mode", 0) or any(
            value.uses() or value.is_graph_output() for value in norm.outputs[1:]
        )
        if training:
            return "it normalises by the batch: training mode"
        if norm.attributes.get_int("spatial", 1) != 1:
            return "it has statistics for every position (spatial=0, up to opset 8)"
        source = norm.inputs[0]
        layer = source.producer() if source is not None else None
        if source is None or layer is None or layer.op_type not in LINEAR or layer.domain not in ("", "ai.onnx"):
            return f"it follows {layer.op_type if layer is not None else 'an input'}, not {', '.join(LINEAR)}"
        if single_consumer(source) is not norm:
            return f"the output of {layer.op_type} is read elsewhere too"
        return _constants_refusal(layer, norm)


def _constants_refusal(layer: ir.Node, norm: ir.Node) -> str | None:
    weight = constant(layer.inputs[1])
    bias = layer.inputs[2] if len(layer.inputs) > 2 else None
    held = None if bias is None else constant(bias)
    statistics = [constant(value) for value in norm.inputs[1:5]]
    if weight is None or (bias is not None and held is None):
        return f"the weights or the bias of {layer.op_type} are not constant"
    if weight.dtype not in DTYPES:
        return f"the weights are {weight.dtype.name.lower()}; only float32 and float64 are folded"
    channels = _channels(layer, weight)
    if any(tensor is None for tensor in statistics):
        return "its scale, bias, mean or variance is not constant"
    if any(tensor is not None and tensor.size != channels for tensor in statistics):
        return f"its statistics are not of the {channels} channels before it"
    return "the bias of Gemm is a matrix" if held is not None and held.size not in (1, channels) else None


def _channels(layer: ir.Node, weight: ir.TensorProtocol) -> int:
    """Return how many output channels a layer has."""
    shape = weight.shape.numpy()
    if layer.op_type == "Conv":
        return shape[0]
    if layer.op_type == "ConvTranspose":
        return shape[1] * layer.attributes.get_int("group", 1)
    return shape[0] if layer.attributes.get_int("transB", 0) else shape[1]


def _fold(model: ir.Model, layer: ir.Node, norm: ir.Node) -> float:
    """Give `layer` the folded weights, and its output the name of the normalised one; return the weights' error."""
    parts = _parts(layer, norm)
    bias = np.zeros_like(parts.mean) if parts.bias is None else parts.bias
    if layer.op_type == "Gemm":
        bias = bias * layer.attributes.get_float("beta", 1.0)
        layer.attributes.pop("beta", None)
    if len(layer.inputs) == 2:
        layer.resize_inputs(3)
    statistics = list(norm.inputs[1:5])
    exact = _scaled(layer, parts.weight, parts.scale)
    folded = exact.astype(parts.dtype)
    _replace(model, layer, 1, folded)
    _replace(model, layer, 2, (parts.scale * (bias - parts.mean) + parts.shift).astype(parts.dtype))
    source, result = layer.outputs[0], norm.outputs[0]
    name, shape, kind = result.name, result.shape, result.type
    ir.convenience.replace_all_uses_with(result, source, replace_graph_outputs=True)
    model.graph.remove(norm, safe=True)
    source.name, source.shape, source.type = name, shape, kind
    remove_unused_initializers(model, statistics)
    return relative_error(folded, exact)


def _replace(model: ir.Model, layer: ir.Node, place: int, values: NDArray[Any]) -> None:
    """Replace a weight, under its own name unless someone else reads the old one, who then keeps it."""
    old = layer.inputs[place]
    layer.replace_input_with(place, None)
    remove_unused_initializers(model, [old])
    name = str(old.name) if old is not None else f"{layer.name or layer.outputs[0].name}.bias"
    layer.replace_input_with(place, add_initializer(model, name, ir.tensor(values)))


def _parts(layer: ir.Node, norm: ir.Node) -> _Parts:
    def numbers(value: ir.Value | None) -> Doubles:
        tensor: Any = constant(value)
        return np.asarray(tensor.numpy(), dtype=np.float64)

    gamma, beta, mean, variance = (numbers(value).reshape(-1) for value in norm.inputs[1:5])
    scale = gamma / np.sqrt(variance + norm.attributes.get_float("epsilon", EPSILON))
    has_bias = len(layer.inputs) > 2 and layer.inputs[2] is not None
    bias = numbers(layer.inputs[2]).reshape(-1) if has_bias else None
    weight: Any = constant(layer.inputs[1])
    return _Parts(weight.dtype.numpy(), numbers(layer.inputs[1]), bias, scale, beta, mean)


def _scaled(layer: ir.Node, weight: Doubles, scale: Doubles) -> Doubles:
    """Return the weights of a layer, every output channel times its `scale` (channels,)."""
    if layer.op_type == "Conv":  # (out, in / group, *kernel)
        return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    if layer.op_type == "Gemm":
        return weight * (scale[:, None] if layer.attributes.get_int("transB", 0) else scale)
    group = layer.attributes.get_int("group", 1)  # ConvTranspose: (in, out / group, *kernel)
    grouped = weight.reshape(group, -1, *weight.shape[1:])
    return (grouped * scale.reshape(group, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)
