"""The operators of a 3-D convolution that is computed in 2-D."""

from collections.abc import Iterator
from itertools import product
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.base import display_name, read_array
from exporter.passes.builder import Builder
from exporter.passes.cancel_transposes import FIRST, FRAMES, IMAGE_LAST
from exporter.passes.conv2d_pattern import Conv2dMatch


def replace_by_conv2d(model: ir.Model, match: Conv2dMatch, *, channels_last: bool) -> None:
    """Replace a convolution by a 2-D one for onnxruntime's CPU provider; the result keeps its name.

    Args:
        model: the model.
        match: the convolution.
        channels_last: its consumers read the result with channels last.
    """
    builder = _builder(model, match)
    frames, height, width = match.size
    x = builder.op("Transpose", "frames", match.source, perm=FRAMES)
    if match.selects:
        selection = builder.constant(f"conv2d.frames.{frames}.{match.conv.kernel[0]}", _frame_selection(match))
        rows = builder.reshape(x, "rows", -1, frames, match.channels * height * width)
        x = builder.op("MatMul", "select_frames", selection, rows)
    taps = match.conv.kernel[0]
    x = builder.reshape(x, "stacked", -1, taps * match.channels, height, width)
    _replace(model, match, builder, x, _weight(builder, match, taps), channels_last=channels_last)


def replace_by_aligned_conv2d(model: ir.Model, match: Conv2dMatch, multiple: int) -> None:
    """Replace a convolution by a 2-D one for GPUs, whose input channels are a multiple of `multiple`.

    It has further taps in time, which read a frame of zeros and have weights of zero. The result keeps its name.
    """
    builder = _builder(model, match)
    frames, height, width = match.size
    taps = match.conv.kernel[0]
    while taps * match.channels % multiple:
        taps += 1
    x = builder.op("Transpose", "frames", match.source, perm=FRAMES)
    rows = builder.reshape(x, "rows", -1, frames, match.channels * height * width)
    with_zeros = builder.op("Pad", "zeros", rows, builder.integers("conv2d.pads", (0, 0, 0, 0, 1, 0)))
    numbers = builder.constant(f"conv2d.frames.{frames}.{taps}", _frame_numbers(match, taps))
    x = builder.op("Gather", "select_frames", with_zeros, numbers, axis=1)
    x = builder.reshape(x, "stacked", -1, taps * match.channels, height, width)
    _replace(model, match, builder, x, _weight(builder, match, taps), channels_last=True)


def _builder(model: ir.Model, match: Conv2dMatch) -> Builder:
    return Builder(model, f"{display_name(match.nodes[0])}.conv2d")


def _weight(builder: Builder, match: Conv2dMatch, taps: int) -> ir.Value:
    """Return the weights (K, t C, h, w) of `taps` taps in time; those beyond the convolution's own are zero.

    The file keeps the trained weights; engines reorder them once, when they load it.
    """
    weight = match.nodes[0].inputs[1]
    assert weight is not None
    own, *kernel = match.conv.kernel
    rows = builder.reshape(weight, "weight.taps", match.outputs, match.channels, own, prod(kernel))
    ordered = builder.op("Transpose", "weight.frames", rows, perm=[0, 2, 1, 3])
    if taps > own:
        shape = (match.outputs, taps - own, match.channels, prod(kernel))
        zeros = builder.constant(f"conv2d.zeros.{'.'.join(map(str, shape))}", np.zeros(shape, read_array(weight).dtype))
        ordered = builder.op("Concat", "weight.zeros", ordered, zeros, axis=1)
    return builder.reshape(ordered, "weight", match.outputs, taps * match.channels, *kernel)


def _replace(
    model: ir.Model, match: Conv2dMatch, builder: Builder, x: ir.Value, weight: ir.Value, *, channels_last: bool
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
            x = op("Conv", "conv", x, weight, *biases, **match.conv.over_space().attributes())
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


def _frame_selection(match: Conv2dMatch) -> NDArray[np.float32]:
    """Return the matrix (T' t, T) that is 1 where a tap of an output frame reads an input frame, otherwise 0."""
    frames_out, taps, frames = match.conv.output_size(match.size)[0], match.conv.kernel[0], match.size[0]
    selection = np.zeros((frames_out, taps, frames), np.float32)
    for output, tap, frame in _frames_read(match):
        selection[output, tap, frame] = 1
    return selection.reshape(-1, frames)


def _frame_numbers(match: Conv2dMatch, taps: int) -> NDArray[np.int64]:
    """Return the input frame (T', taps) that each tap of each output frame reads; T is a frame of zeros behind them."""
    frames_out, frames = match.conv.output_size(match.size)[0], match.size[0]
    numbers = np.full((frames_out, taps), frames, np.int64)
    for output, tap, frame in _frames_read(match):
        numbers[output, tap] = frame
    return numbers


def _frames_read(match: Conv2dMatch) -> Iterator[tuple[int, int, int]]:
    """Yield (output frame, tap, input frame) for each tap in time that reads no padding."""
    window = match.conv
    for output, tap in product(range(window.output_size(match.size)[0]), range(window.kernel[0])):
        frame = output * window.strides[0] - window.before[0] + tap * window.dilations[0]
        if 0 <= frame < match.size[0]:
            yield output, tap, frame
