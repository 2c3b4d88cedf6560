"""The operators of a 3-D convolution that is computed in 2-D."""

from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.builder import Builder
from exporter.passes.cancel_transposes import FIRST, FRAMES, IMAGE_LAST
from exporter.passes.conv_pattern import ConvMatch
from exporter.passes.graph import display_name, read_array


def replace_by_conv2d(model: ir.Model, match: ConvMatch, *, channels_last: bool, multiple: int | None = None) -> None:
    """Replace a convolution by a 2-D one; the result keeps its name.

    Args:
        model: the model.
        match: the convolution.
        channels_last: its consumers read the result with channels last.
        multiple: None for onnxruntime's CPU provider. For GPUs the input channels become a multiple of this many: the
            convolution has further taps in time, which read a frame of zeros and have weights of zero.
    """
    builder = Builder(model, f"{display_name(match.nodes[0])}.conv2d")
    frames, height, width = match.size
    taps = match.window.kernel[0]
    while multiple is not None and taps * match.inputs % multiple:
        taps += 1
    x = builder.op("Transpose", "frames", match.source, perm=FRAMES)
    if multiple is not None or match.selects:
        x = builder.reshape(x, "rows", -1, frames, match.inputs * height * width)
    numbers = _frame_numbers(match, taps)
    if multiple is not None:
        with_zeros = builder.op("Pad", "zeros", x, builder.integers("conv2d.pads", (0, 0, 0, 0, 1, 0)))
        indices = builder.constant(f"conv2d.frames.{frames}.{taps}", numbers)
        x = builder.op("Gather", "select_frames", with_zeros, indices, axis=1)
    elif match.selects:
        matrix = np.eye(frames + 1, frames, dtype=np.float32)[numbers].reshape(-1, frames)
        x = builder.op("MatMul", "select_frames", builder.constant(f"conv2d.frames.{frames}.{taps}", matrix), x)
    x = builder.reshape(x, "stacked", -1, taps * match.inputs, height, width)
    _replace(model, match, builder, x, _weight(builder, match, taps), channels_last=channels_last)


def _weight(builder: Builder, match: ConvMatch, taps: int) -> ir.Value:
    """Return the weights (K, t C, h, w) of `taps` taps in time; those beyond the convolution's own are zero.

    The file keeps the trained weights; engines reorder them once, when they load it.
    """
    weight = match.nodes[0].inputs[1]
    assert weight is not None
    own, *kernel = match.window.kernel
    rows = builder.reshape(weight, "weight.taps", match.outputs, match.inputs, own, prod(kernel))
    ordered = builder.op("Transpose", "weight.frames", rows, perm=[0, 2, 1, 3])
    if taps > own:
        shape = (match.outputs, taps - own, match.inputs, prod(kernel))
        zeros = builder.constant(f"conv2d.zeros.{'.'.join(map(str, shape))}", np.zeros(shape, read_array(weight).dtype))
        ordered = builder.op("Concat", "weight.zeros", ordered, zeros, axis=1)
    return builder.reshape(ordered, "weight", match.outputs, taps * match.inputs, *kernel)


def _replace(
    model: ir.Model, match: ConvMatch, builder: Builder, x: ir.Value, weight: ir.Value, *, channels_last: bool
) -> None:
    """Replace the nodes of a match by 2-D ones.

    Args:
        model: the model.
        match: the convolution, and the ReLU and the pool after it.
        builder: has made what follows.
        x: the images (N T', t C, H, W).
        weight: (K, t C, h, w).
        channels_last: the result is transposed from channels last.
    """
    op, reshape, conv, outputs = builder.op, builder.reshape, match.nodes[0], match.outputs
    biases = [value for value in conv.inputs[2:] if value is not None]
    for node in match.nodes:
        if node is conv:
            x = op("Conv", "conv", x, weight, *biases, **match.window.over_space().attributes())
        elif node.op_type == "Relu":
            x = op("Relu", "relu", x)
        elif match.pool is not None:
            x = op("MaxPool", "pool", x, **match.pool.over_space().attributes())
    frames_out, rows, columns = match.pooled
    if match.pool is not None and match.pools_frames:
        x = reshape(x, "volume", -1, match.convolved[0], outputs, rows, columns)
        x = op("Transpose", "channels_first", x, perm=FRAMES)
        x = op("MaxPool", "pool_frames", x, **match.pool.over_frames().attributes())
    elif channels_last:
        x = op("Transpose", "channels_last", x, perm=IMAGE_LAST)
        x = reshape(x, "volume", -1, frames_out, rows, columns, outputs)
        x = op("Transpose", "channels_first", x, perm=FIRST)
    else:
        x = reshape(x, "volume", -1, frames_out, outputs, rows, columns)
        x = op("Transpose", "channels_first", x, perm=FRAMES)
    ir.convenience.replace_nodes_and_values(
        model.graph, match.nodes[-1], match.nodes, builder.nodes, [match.result], [x]
    )


def _frame_numbers(match: ConvMatch, taps: int) -> NDArray[np.int64]:
    """Return the input frame (T', taps) that each tap of each output frame reads; T is a frame of zeros behind them."""
    window, frames = match.window, match.size[0]
    outputs, own = np.arange(match.convolved[0])[:, None], np.arange(window.kernel[0])
    numbers = outputs * window.strides[0] - window.before[0] + own * window.dilations[0]
    numbers = np.pad(numbers, ((0, 0), (0, taps - len(own))), constant_values=frames)
    return np.where((numbers >= 0) & (numbers < frames), numbers, frames)
