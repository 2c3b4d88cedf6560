"""What a BatchNormalization of inference computes, and how the weights of a layer beside it are replaced.

Per channel it is `y = s (x - mean) + beta` with `s = gamma / sqrt(var + epsilon)`. *Source*: Ioffe and Szegedy, *Batch
Normalization* (2015), section 3.1, inference; ONNX BatchNormalization-15.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.graph import add_initializer, constant, read_array, relative_error, remove_unused_initializers

DTYPES = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
"""Dtypes of weights that are folded: in float16 a product would be rounded where it was not."""
EPSILON = 1e-5
"""ONNX's default."""

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """The numbers of a BatchNormalization in float64, each (channels,).

    Attributes:
        scale: s.
        beta: what is added after the scale.
        mean: what is subtracted before it.
        deviation: sqrt(var + epsilon).
    """

    scale: Doubles
    beta: Doubles
    mean: Doubles
    deviation: Doubles

    @property
    def shift(self) -> Doubles:
        """What `y = s x + shift` adds."""
        return self.beta - self.scale * self.mean

    def select_channels(self, first: int, count: int) -> "Statistics":
        """Return the statistics of `count` channels from `first` on."""
        part = slice(first, first + count)
        return Statistics(self.scale[part], self.beta[part], self.mean[part], self.deviation[part])


def check_norm(norm: ir.Node) -> str | None:
    """Return why a BatchNormalization is no fixed function of each channel, or None."""
    training = norm.attributes.get_int("training_mode", 0) or any(
        value.uses() or value.is_graph_output() for value in norm.outputs[1:]
    )
    if training:
        return "it normalises by the batch: training mode"
    if norm.attributes.get_int("spatial", 1) != 1:
        return "it has statistics for every position (spatial=0, up to opset 8)"
    return None


def check_layer(layer: ir.Node) -> str | None:
    """Return why the weights of a Conv, ConvTranspose or Gemm cannot be computed anew, or None."""
    weight = constant(layer.inputs[1])
    bias = layer.inputs[2] if len(layer.inputs) > 2 else None
    bias_tensor = None if bias is None else constant(bias)
    if weight is None or (bias is not None and bias_tensor is None):
        return f"the weights or the bias of {layer.op_type} are not constant"
    if weight.dtype not in DTYPES:
        return f"the weights are {weight.dtype.name.lower()}; only float32 and float64 are folded"
    matrix = bias_tensor is not None and bias_tensor.size not in (1, output_channels(layer))
    return "the bias of Gemm is a matrix" if matrix else None


def check_statistics(norm: ir.Node, channels: int) -> str | None:
    """Return why a BatchNormalization has no constant statistics of so many channels, or None."""
    statistics = [constant(value) for value in norm.inputs[1:5]]
    if any(tensor is None for tensor in statistics):
        return "its scale, bias, mean or variance is not constant"
    if any(tensor is not None and tensor.size != channels for tensor in statistics):
        return f"its statistics do not have the {channels} channels of the layer beside it"
    return None


def output_channels(layer: ir.Node) -> int:
    """Return the number of output channels of a Conv, ConvTranspose or Gemm with constant weights."""
    return count_channels(layer, output_axis(layer))


def output_axis(layer: ir.Node) -> int:
    """Return the axis of a layer's weight that counts output channels; of 0 and 1 the other counts inputs.

    The weight of a Conv is (out, in / group, *kernel), of a ConvTranspose (in, out / group, *kernel).
    """
    return 0 if layer.op_type == "Conv" or layer.attributes.get_int("transB", 0) else 1


def count_channels(layer: ir.Node, axis: int) -> int:
    """Return the number of channels that an axis of a layer's constant weight counts: 1 has those of one group."""
    size = read_array(layer.inputs[1]).shape[axis]
    return size * layer.attributes.get_int("group", 1) if axis == 1 else size


def scale_channels(layer: ir.Node, weight: Doubles, scale: Doubles, axis: int) -> Doubles:
    """Return the weight of a layer with the channels that an axis counts times their `scale` (channels,)."""
    ones = [1] * (weight.ndim - 2)
    if axis == 0:
        return weight * scale.reshape(-1, 1, *ones)
    group = layer.attributes.get_int("group", 1)
    grouped = weight.reshape(group, -1, *weight.shape[1:])
    return (grouped * scale.reshape(group, 1, -1, *ones)).reshape(weight.shape)


def read_statistics(norm: ir.Node) -> Statistics:
    """Return the statistics of a BatchNormalization whose inputs are constant."""
    gamma, beta, mean, variance = (read_doubles(value).reshape(-1) for value in norm.inputs[1:5])
    deviation = np.sqrt(variance + norm.attributes.get_float("epsilon", EPSILON))
    return Statistics(gamma / deviation, beta, mean, deviation)


def read_doubles(value: ir.Value | None) -> Doubles:
    """Return a constant in float64."""
    return read_array(value).astype(np.float64)


def read_bias(layer: ir.Node) -> Doubles:
    """Return what a layer adds, in float64: (channels,) or a single number for all, zero without a bias."""
    bias = layer.inputs[2] if len(layer.inputs) > 2 else None
    added = np.zeros(1) if bias is None else read_doubles(bias).reshape(-1)
    return added * layer.attributes.get_float("beta", 1.0) if layer.op_type == "Gemm" else added


def replace_parameters(model: ir.Model, layer: ir.Node, weight: Doubles, bias: Doubles) -> float:
    """Give a layer other weights and another bias, in its dtype, and return the error of rounding the weights.

    The names stay unless a weight has other consumers. Gemm's factor `beta`, which `read_bias` includes, becomes 1.
    """
    dtype = read_array(layer.inputs[1]).dtype
    if len(layer.inputs) == 2:
        layer.resize_inputs(3)
    if layer.op_type == "Gemm":
        layer.attributes.pop("beta", None)
    rounded = weight.astype(dtype)
    _replace(model, layer, 1, rounded)
    _replace(model, layer, 2, np.broadcast_to(bias, output_channels(layer)).astype(dtype))
    return relative_error(rounded, weight)


def _replace(model: ir.Model, layer: ir.Node, index: int, values: NDArray[Any]) -> None:
    old = layer.inputs[index]
    layer.replace_input_with(index, None)
    remove_unused_initializers(model, [old])
    name = str(old.name) if old is not None else f"{layer.name or layer.outputs[0].name}.bias"
    layer.replace_input_with(index, add_initializer(model, name, ir.tensor(values)))
