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

from exporter.passes.batch_norm import (
    check_layer,
    check_statistics,
    count_channels,
    output_axis,
    read_bias,
    read_doubles,
    read_statistics,
    replace_parameters,
    scale_channels,
)
from exporter.passes.graph import ONNX, read_array, remove_unused_initializers

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
    return check_layer(layer) or check_statistics(norm, count_channels(layer, 1 - output_axis(layer)))


def _is_padded(layer: ir.Node) -> bool:
    """Return whether a layer may read zeros around its input."""
    if layer.op_type != "Conv":
        return False
    auto = layer.attributes.get_string("auto_pad", "NOTSET")
    if auto == "NOTSET":
        return any(layer.attributes.get_ints("pads") or ())
    return auto != "VALID" and any(size > 1 for size in read_array(layer.inputs[1]).shape[2:])


def fold_into_consumers(model: ir.Model, norm: ir.Node) -> tuple[list[ir.Node], float]:
    """Fold a norm that `check_consumers` accepts; return the layers, and the largest error of their weights."""
    statistics, source, values = read_statistics(norm), norm.inputs[0], list(norm.inputs[1:5])
    assert source is not None
    layers = [use.node for use in norm.outputs[0].uses()]
    errors: list[float] = []
    for layer in layers:
        weight, outputs = read_doubles(layer.inputs[1]), output_axis(layer)
        added = scale_channels(
            layer, weight, statistics.shift, 1 - outputs
        )  # what the shift contributes to each output
        shift = added.sum(axis=tuple(axis for axis in range(added.ndim) if axis != outputs))
        shift *= layer.attributes.get_float("alpha", 1.0)  # of Gemm
        scaled = scale_channels(layer, weight, statistics.scale, 1 - outputs)
        errors.append(replace_parameters(model, layer, scaled, read_bias(layer) + shift))
        layer.replace_input_with(0, source)
    model.graph.remove(norm, safe=True)
    remove_unused_initializers(model, values)
    return layers, max(errors)
