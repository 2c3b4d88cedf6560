"""Folds BatchNormalization into the weights of the convolutions or linear layers after it.

*Given* `y = Conv(BatchNormalization(x), W, b)` without padding, or Gemm in place of Conv, for each consumer of the
BatchNormalization. *Result*: `y = Conv(x, W', b')`. *Algebra*, with `BatchNormalization(x) = s x + t` per input channel
`c`:

    y = W (s x + t) + b,   so   W'_c = s_c W_c,   b' = b + sum of W_c t_c over the input channels and taps

Padding is zero *after* the BatchNormalization, and `t` is missing there: a padded convolution is folded only where
`t = 0`. *Source*: that of `exporter.passes.batch_norm`.

The convolution now sums numbers from which the mean is not subtracted, and takes it off at the end, so that rounding
errors grow with the mean: measured on one layer with inputs whose mean is 0, 1, 2, 4 and 8 standard deviations, the
error of the folded layer is 0.7, 1.0, 1.5, 2.6 and 3.5 times the error before. Beyond `MAX_OFFSET` it is not folded.
"""

import numpy as np
import onnx_ir as ir

from exporter.passes.base import ONNX, constant, remove_unused_initializers
from exporter.passes.batch_norm import (
    Doubles,
    check_layer,
    check_statistics,
    read_bias,
    read_doubles,
    read_statistics,
    replace_parameters,
)

CONSUMERS = ("Conv", "Gemm")
MAX_OFFSET = 2.0
"""The largest mean that is folded, in standard deviations, root mean square over the channels."""


def is_read_by_layers(norm: ir.Node) -> bool:
    """Return whether Conv and Gemm nodes of the same graph, and nothing else, read a BatchNormalization's output."""
    result = norm.outputs[0]
    readers = [use.node for use in result.uses()]
    return (
        bool(readers)
        and not result.is_graph_output()
        and all(node.op_type in CONSUMERS and node.domain in ONNX and node.graph is norm.graph for node in readers)
    )


def check_consumers(norm: ir.Node) -> str | None:
    """Return why a BatchNormalization that `is_read_by_layers` cannot be folded into these, or None."""
    uses = list(norm.outputs[0].uses())
    for use in uses:
        reason = _check_consumer(use.node, use.idx, norm)
        if reason is not None:
            return reason
    statistics = read_statistics(norm)
    if statistics.shift.any() and any(_is_padded(use.node) for use in uses):
        return "it adds a constant, which the zero padding of the Conv after it does not have"
    centred = np.linalg.norm(statistics.scale * statistics.deviation)
    if np.linalg.norm(statistics.scale * statistics.mean) > MAX_OFFSET * centred:
        return f"its mean is over {MAX_OFFSET:g} standard deviations, and the layer after it would round more"
    return None


def _check_consumer(layer: ir.Node, index: int, norm: ir.Node) -> str | None:
    if index != 0:
        return f"it is the weights or the bias of {layer.op_type}"
    if layer.attributes.get_int("transA", 0):
        return "Gemm transposes it"
    return check_layer(layer) or check_statistics(norm, _input_channels(layer))


def _input_channels(layer: ir.Node) -> int:
    weight = constant(layer.inputs[1])
    assert weight is not None
    shape = weight.shape.numpy()
    if layer.op_type == "Conv":
        return shape[1] * layer.attributes.get_int("group", 1)
    return shape[1] if layer.attributes.get_int("transB", 0) else shape[0]


def _is_padded(layer: ir.Node) -> bool:
    """Return whether a layer may read zeros around its input."""
    if layer.op_type != "Conv":
        return False
    auto = layer.attributes.get_string("auto_pad", "NOTSET")
    if auto == "NOTSET":
        return any(layer.attributes.get_ints("pads") or ())
    weight = constant(layer.inputs[1])
    assert weight is not None
    return auto != "VALID" and any(size > 1 for size in weight.shape.numpy()[2:])


def fold_into_consumers(model: ir.Model, norm: ir.Node) -> tuple[list[ir.Node], float]:
    """Fold a norm that `check_consumers` accepts; return the layers, and the largest error of their weights."""
    statistics, source, values = read_statistics(norm), norm.inputs[0], list(norm.inputs[1:5])
    assert source is not None
    layers = [use.node for use in norm.outputs[0].uses()]
    errors: list[float] = []
    for layer in layers:
        weight = read_doubles(layer.inputs[1])
        added = _scale_inputs(layer, weight, statistics.shift)  # what the shift contributes to each output
        if layer.op_type == "Gemm":
            transposed = layer.attributes.get_int("transB", 0)
            shift = layer.attributes.get_float("alpha", 1.0) * added.sum(axis=1 if transposed else 0)
        else:
            shift = added.sum(axis=tuple(range(1, added.ndim)))
        scaled = _scale_inputs(layer, weight, statistics.scale)
        errors.append(replace_parameters(model, layer, scaled, read_bias(layer) + shift))
        layer.replace_input_with(0, source)
    model.graph.remove(norm, safe=True)
    remove_unused_initializers(model, values)
    return layers, max(errors)


def _scale_inputs(layer: ir.Node, weight: Doubles, scale: Doubles) -> Doubles:
    """Return the weights of a layer, every input channel times its `scale` (channels,)."""
    if layer.op_type == "Gemm":
        return weight * (scale if layer.attributes.get_int("transB", 0) else scale[:, None])
    group = layer.attributes.get_int("group", 1)  # (out, in / group, *kernel)
    grouped = weight.reshape(group, -1, *weight.shape[1:])
    return (grouped * scale.reshape(group, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)
