"""Folds BatchNormalization into the weights of the convolution or linear layer before it.

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
    find_nodes,
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
class _Operands:
    """The operands of a fold, in float64, and the dtype of its result."""

    dtype: np.dtype[Any]
    weight: Doubles
    bias: Doubles | None
    scale: Doubles
    shift: Doubles
    mean: Doubles


class FoldBatchNorm(GraphPass):
    """BatchNormalization is folded into the Conv, ConvTranspose or Gemm before it."""

    name = "fold-batch-norm"
    condition = (
        "A BatchNormalization of inference whose input is a Conv, ConvTranspose or Gemm that nothing else reads."
    )
    reason = "It saves a pass over the whole activation, and lets engines fuse the ReLU that follows."

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        modified = False
        for norm in find_nodes(model, "BatchNormalization"):
            reason = self._check_norm(norm)
            if reason is not None:
                self.decide(norm, "left", reason)
                continue
            layer = norm.inputs[0].producer() if norm.inputs[0] is not None else None
            assert layer is not None
            error = _fold(model, layer, norm)
            self.decide(norm, "folded", f"into the weights of {layer.name or layer.op_type}", error)
            modified = True
        return modified

    def _check_norm(self, norm: ir.Node) -> str | None:
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
            return f"the output of {layer.op_type} has other consumers"
        return _check_constants(layer, norm)


def _check_constants(layer: ir.Node, norm: ir.Node) -> str | None:
    weight = constant(layer.inputs[1])
    bias = layer.inputs[2] if len(layer.inputs) > 2 else None
    bias_tensor = None if bias is None else constant(bias)
    statistics = [constant(value) for value in norm.inputs[1:5]]
    if weight is None or (bias is not None and bias_tensor is None):
        return f"the weights or the bias of {layer.op_type} are not constant"
    if weight.dtype not in DTYPES:
        return f"the weights are {weight.dtype.name.lower()}; only float32 and float64 are folded"
    channels = _channels(layer, weight)
    if any(tensor is None for tensor in statistics):
        return "its scale, bias, mean or variance is not constant"
    if any(tensor is not None and tensor.size != channels for tensor in statistics):
        return f"its statistics do not have the {channels} channels of the layer before it"
    return "the bias of Gemm is a matrix" if bias_tensor is not None and bias_tensor.size not in (1, channels) else None


def _channels(layer: ir.Node, weight: ir.TensorProtocol) -> int:
    """Return the number of output channels of a layer."""
    shape = weight.shape.numpy()
    if layer.op_type == "Conv":
        return shape[0]
    if layer.op_type == "ConvTranspose":
        return shape[1] * layer.attributes.get_int("group", 1)
    return shape[0] if layer.attributes.get_int("transB", 0) else shape[1]


def _fold(model: ir.Model, layer: ir.Node, norm: ir.Node) -> float:
    """Fold `norm` into the weights of `layer`, whose output gets its name, and return the error of the weights."""
    operands = _get_operands(layer, norm)
    bias = np.zeros_like(operands.mean) if operands.bias is None else operands.bias
    if layer.op_type == "Gemm":
        bias = bias * layer.attributes.get_float("beta", 1.0)
        layer.attributes.pop("beta", None)
    if len(layer.inputs) == 2:
        layer.resize_inputs(3)
    statistics = list(norm.inputs[1:5])
    exact = _scale_weight(layer, operands.weight, operands.scale)
    folded = exact.astype(operands.dtype)
    _replace(model, layer, 1, folded)
    _replace(model, layer, 2, (operands.scale * (bias - operands.mean) + operands.shift).astype(operands.dtype))
    source, result = layer.outputs[0], norm.outputs[0]
    name, shape, kind = result.name, result.shape, result.type
    ir.convenience.replace_all_uses_with(result, source, replace_graph_outputs=True)
    model.graph.remove(norm, safe=True)
    source.name, source.shape, source.type = name, shape, kind
    remove_unused_initializers(model, statistics)
    return relative_error(folded, exact)


def _replace(model: ir.Model, layer: ir.Node, index: int, values: NDArray[Any]) -> None:
    """Replace a weight, under the same name unless the old one has other consumers."""
    old = layer.inputs[index]
    layer.replace_input_with(index, None)
    remove_unused_initializers(model, [old])
    name = str(old.name) if old is not None else f"{layer.name or layer.outputs[0].name}.bias"
    layer.replace_input_with(index, add_initializer(model, name, ir.tensor(values)))


def _get_operands(layer: ir.Node, norm: ir.Node) -> _Operands:
    def numbers(value: ir.Value | None) -> Doubles:
        tensor: Any = constant(value)
        return np.asarray(tensor.numpy(), dtype=np.float64)

    gamma, beta, mean, variance = (numbers(value).reshape(-1) for value in norm.inputs[1:5])
    scale = gamma / np.sqrt(variance + norm.attributes.get_float("epsilon", EPSILON))
    has_bias = len(layer.inputs) > 2 and layer.inputs[2] is not None
    bias = numbers(layer.inputs[2]).reshape(-1) if has_bias else None
    weight: Any = constant(layer.inputs[1])
    return _Operands(weight.dtype.numpy(), numbers(layer.inputs[1]), bias, scale, beta, mean)


def _scale_weight(layer: ir.Node, weight: Doubles, scale: Doubles) -> Doubles:
    """Return the weights of a layer, every output channel times its `scale` (channels,)."""
    if layer.op_type == "Conv":  # (out, in / group, *kernel)
        return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    if layer.op_type == "Gemm":
        return weight * (scale[:, None] if layer.attributes.get_int("transB", 0) else scale)
    group = layer.attributes.get_int("group", 1)  # ConvTranspose: (in, out / group, *kernel)
    grouped = weight.reshape(group, -1, *weight.shape[1:])
    return (grouped * scale.reshape(group, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)
