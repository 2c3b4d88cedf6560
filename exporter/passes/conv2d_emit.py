"""The operators of a 3-D convolution that is computed in 2-D."""

from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.base import constant, display_name
from exporter.passes.builder import Builder
from exporter.passes.cancel_transposes import FIRST, FRAMES, IMAGE_LAST
from exporter.passes.conv2d_pattern import Conv2dMatch


def replace_by_conv2d(model: ir.Model, match: Conv2dMatch, *, channels_last: bool) -> None:
    """Replace a convolution by a 2-D one; the result keeps its name.

    Args:
        model: the model.
        match: the convolution.
        channels_last: its consumers read the result with channels last.
    """
    conv = match.nodes[0]
    source, weight, tensor = conv.inputs[0], conv.inputs[1], constant(conv.inputs[1])
    assert source is not None
    assert weight is not None
    assert tensor is not None
    outputs, channels, taps, *_ = tensor.shape.numpy()
    frames, height, width = match.size
    builder = Builder(model, f"{display_name(conv)}.conv2d")
    op, reshape = builder.op, builder.reshape
    x = op("Transpose", "frames", source, perm=FRAMES)
    if match.selects:
        selection = builder.constant(f"conv2d.frames.{frames}.{taps}", _frame_selection(match))
        x = op("MatMul", "select_frames", selection, reshape(x, "rows", -1, frames, channels * height * width))
    x = reshape(x, "stacked", -1, taps * channels, height, width)
    # the file keeps the trained weights; engines reorder them once, when they load it
    rows = reshape(weight, "weight.taps", outputs, channels, taps, prod(match.conv.kernel[1:]))
    ordered = op("Transpose", "weight.frames", rows, perm=[0, 2, 1, 3])
    flat = reshape(ordered, "weight", outputs, taps * channels, *match.conv.kernel[1:])
    biases = [value for value in conv.inputs[2:] if value is not None]
    for node in match.nodes:
        if node is conv:
            x = op("Conv", "conv", x, flat, *biases, **match.conv.attributes_2d())
        elif node.op_type == "Relu":
            x = op("Relu", "relu", x)
        elif match.pool is not None:
            x = op("MaxPool", "pool", x, **match.pool.attributes_2d())
    frames_out, rows, columns = match.pooled
    if match.pool is not None and match.pools_frames:
        x = reshape(x, "volume", -1, match.convolved[0], outputs, rows, columns)
        x = op("Transpose", "channels_first", x, perm=FRAMES)
        x = op("MaxPool", "pool_frames", x, **match.pool.attributes_of_frames())
    elif channels_last:
        x = reshape(
            op("Transpose", "channels_last", x, perm=IMAGE_LAST), "volume", -1, frames_out, rows, columns, outputs
        )
        x = op("Transpose", "channels_first", x, perm=FIRST)
    else:
        x = op(
            "Transpose",
            "channels_first",
            reshape(x, "volume", -1, frames_out, outputs, rows, columns),
            perm=FRAMES,
        )
    ir.convenience.replace_nodes_and_values(
        model.graph, match.nodes[-1], match.nodes, builder.nodes, [match.result], [x]
    )


def _frame_selection(match: Conv2dMatch) -> NDArray[np.float32]:
    """Return the matrix (T' t, T) that is 1 where a tap of an output frame reads an input frame, otherwise 0."""
    frames_out, taps, frames = match.conv.output_size(match.size)[0], match.conv.kernel[0], match.size[0]
    selection = np.zeros((frames_out, taps, frames), np.float32)
    for output in range(frames_out):
        for tap in range(taps):
            frame = output * match.conv.strides[0] - match.conv.before[0] + tap * match.conv.dilations[0]
            if 0 <= frame < frames:
                selection[output, tap, frame] = 1
    return selection.reshape(-1, frames)
