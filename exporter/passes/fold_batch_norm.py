"""Folds BatchNormalization into the weights of the convolutions or linear layers beside it.

*Given* `y = BatchNormalization(Conv(x, W, b), gamma, beta, mean, var)`, or ConvTranspose or Gemm in place of Conv.
*Result*: `y = Conv(x, W', b')`, one operator. *Algebra*, per output channel, with `s = gamma / sqrt(var + epsilon)`:

    y = s (W x + b - mean) + beta,   so   W' = s W,   b' = s (b - mean) + beta

computed in float64 and rounded once to the weights' dtype. Gemm is `alpha A B + beta C`; its `beta` goes into `b'`
and becomes 1. After a Concat of such layers along the channels, each gets the statistics of its own channels.
*Source*: that of `exporter.passes.batch_norm`.

Where there is no such layer before it, those after it are tried. *Given* `y = Conv(BatchNormalization(x), W, b)`
without padding, or Gemm in place of Conv, for each consumer of the BatchNormalization. *Result*: `y = Conv(x, W', b')`.
*Algebra*, with `BatchNormalization(x) = s x + t` per input channel `c`:

    y = W (s x + t) + b,   so   W'_c = s_c W_c,   b' = b + sum of W_c t_c over the input channels and taps

Padding is zero *after* the BatchNormalization, and `t` is missing there: a padded convolution is folded only where
`t = 0`. The convolution then sums numbers from which the mean is not subtracted, and takes it off at the end, so that
rounding errors grow with the mean: measured on one layer with inputs whose mean is 0, 1, 2, 4 and 8 standard
deviations, the error of the folded layer is 0.7, 1.0, 1.5, 2.6 and 3.5 times the error before. Beyond `MAX_OFFSET` it
is not folded.
"""

import numpy as np
import onnx_ir as ir

from exporter.onnx_io.subgraphs import STANDARD_DOMAINS
from exporter.passes.base import GraphPass
from exporter.passes.batch_norm import (
    check_layer,
    check_norm,
    check_statistics,
    count_channels,
    output_axis,
    output_channels,
    read_bias,
    read_doubles,
    read_statistics,
    replace_parameters,
    scale_channels,
)
from exporter.passes.graph import (
    find_nodes,
    get_shape,
    read_array,
    remove_unused_initializers,
    replace_value,
    single_consumer,
)

LINEAR = ("Conv", "ConvTranspose", "Gemm")
CHANNEL_AXIS = 1
CONSUMERS = ("Conv", "Gemm")
MAX_OFFSET = 2.0
"""The largest mean that is folded, in standard deviations, root mean square over the channels."""


class FoldBatchNorm(GraphPass):
    """BatchNormalization is folded into the Conv, ConvTranspose or Gemm before it, or the Conv or Gemm after it."""

    name = "fold-batch-norm"
    condition = (
        "A BatchNormalization of inference after a Conv, ConvTranspose or Gemm, or after a Concat of these along the "
        "channels, that nothing else reads; or one that only Gemm and Conv without padding read."
    )
    reason = "It saves a pass over the whole activation, and lets engines fuse the ReLU that follows."

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        norms = find_nodes(model, "BatchNormalization")
        rows: dict[ir.Node, tuple[str, str, float | None]] = {}
        for norm in norms:
            layers = _layers_before(norm)
            if isinstance(layers, str):
                rows[norm] = ("left", layers, None)
            else:
                rows[norm] = ("folded", f"into the weights of {_join(layers)}", _fold(model, layers, norm))
        left = [norm for norm in norms if rows[norm][0] == "left" and check_norm(norm) is None]
        for norm in reversed(left):  # of two in a row the second, which then is no longer in the way of the first
            if not is_read_by_layers(norm):
                continue
            reason = check_consumers(norm)
            if reason is None:
                consumers, error = fold_into_consumers(model, norm)
                rows[norm] = ("folded", f"into the weights of {_join(consumers)}, after it", error)
            else:
                rows[norm] = ("left", f"{rows[norm][1]}; {reason}", None)
        for norm, row in rows.items():
            self.decide(norm, *row)
        return any(action == "folded" for action, _, _ in rows.values())


def _join(layers: list[ir.Node]) -> str:
    return ", ".join(layer.name or layer.op_type for layer in layers)


def _layers_before(norm: ir.Node) -> list[ir.Node] | str:
    """Return the layers whose outputs, one after another, are the channels of a norm, or why it cannot be folded."""
    source = norm.inputs[0]
    reason = check_norm(norm)
    layers = reason or _find_layers(source, norm)
    if isinstance(layers, str):
        return layers
    for layer in layers:
        reason = check_layer(layer)
        if reason is not None:
            return reason
    return check_statistics(norm, sum(output_channels(layer) for layer in layers)) or layers


def _find_layers(value: ir.Value | None, reader: ir.Node) -> list[ir.Node] | str:
    """Return the layers that compute a value for nothing but `reader`, in the order of the channels, or why not."""
    node = value.producer() if value is not None else None
    after = "" if reader.op_type == "BatchNormalization" else " in its Concat"
    if value is None or node is None or node.op_type not in (*LINEAR, "Concat") or node.domain not in STANDARD_DOMAINS:
        return f"it follows {node.op_type if node is not None else 'an input'}{after}, not {', '.join(LINEAR)}"
    if single_consumer(value) is not reader:
        return f"the output of {node.op_type} has other consumers"
    if node.op_type != "Concat":
        return [node]
    axis = node.attributes.get_int("axis", CHANNEL_AXIS)
    rank = len(get_shape(value) or ())
    if axis != CHANNEL_AXIS and axis + rank != CHANNEL_AXIS:
        return f"it follows a Concat along axis {axis}, not along the channels"
    layers: list[ir.Node] = []
    for branch in node.inputs:
        found = _find_layers(branch, node)
        if isinstance(found, str):
            return found
        layers += found
    return layers


def _fold(model: ir.Model, layers: list[ir.Node], norm: ir.Node) -> float:
    """Fold `norm` into the weights of the layers before it, and return the largest error of the weights."""
    statistics, first, errors = read_statistics(norm), 0, list[float]()
    for layer in layers:
        count = output_channels(layer)
        part = statistics.select_channels(first, count)
        first += count
        weight = scale_channels(layer, read_doubles(layer.inputs[1]), part.scale, output_axis(layer))
        errors.append(replace_parameters(model, layer, weight, part.scale * read_bias(layer) + part.shift))
    source, result, values = norm.inputs[0], norm.outputs[0], list(norm.inputs[1:5])
    assert source is not None
    replace_value(result, source)
    model.graph.remove(norm, safe=True)
    remove_unused_initializers(model, values)
    return max(errors)


def is_read_by_layers(norm: ir.Node) -> bool:
    """Return whether Conv and Gemm nodes of the same graph, and nothing else, read a BatchNormalization's output."""
    result = norm.outputs[0]
    readers = [use.node for use in result.uses()]
    return (
        bool(readers)
        and not result.is_graph_output()
        and all(
            node.op_type in CONSUMERS and node.domain in STANDARD_DOMAINS and node.graph is norm.graph
            for node in readers
        )
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
