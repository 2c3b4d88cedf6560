"""Transposed convolutions of volumes as transposed convolutions of frames, where their frames do not overlap.

*Given* `y = ConvTranspose(x, W, b)` of volumes, W (C, K, t, h, w), with a stride of t along time and no padding there.
*Result*: the same numbers, from a 2-D transposed convolution of each frame, with t K outputs: W becomes (C, t K, h, w).
*Algebra*: each input frame makes t output frames of its own, which lie one after the other with frames first,
(N, T, t K, H, W) = (N, t T, K, H, W). *Source*: as of `exporter.passes.conv3d_as_conv2d`.

onnxruntime computes all columns of the product before it adds them into the output, with one thread. Those of a frame
fit in a near cache; those of a volume do not. Between layers with frames first nothing is transposed.
"""

from math import prod

import onnx_ir as ir

from exporter.passes.base import PASSES_OPSET, NodePass
from exporter.passes.builder import Builder
from exporter.passes.cancel_transposes import FRAMES
from exporter.passes.conv_pattern import AXES, CONV2D, Window, read_window
from exporter.passes.graph import constant, display_name, get_shape, read_array

MIN_POSITIONS = 128
"""Rows times columns of the input: with fewer, a product of each frame takes longer than one of the volume."""


class ConvTransposeAs2d(NodePass):
    """A transposed convolution of volumes is computed frame by frame, where no output frame has two sources."""

    name = "conv-transpose-as-2d"
    condition = (
        "A float32 ConvTranspose of volumes with one group, constant weights, a known size of at least "
        f"{MIN_POSITIONS} positions a frame, as many taps along time as its stride there, and no padding there."
    )
    reason = "The columns of one frame stay in a near cache, and its neighbours have frames first."
    min_opset = PASSES_OPSET
    operators = ("ConvTranspose",)

    def rewrite_node(self, model: ir.Model, node: ir.Node) -> bool:
        """See `NodePass`."""
        size = _size(node)
        if size is None or prod(size[1:]) < MIN_POSITIONS:
            return False
        _replace(model, node, size)
        self.decide(node, CONV2D, "each of its input frames makes output frames of its own")
        return True


def _size(node: ir.Node) -> tuple[int, ...] | None:
    """Return (T, H, W) of the input, or None if the node cannot be computed frame by frame."""
    weight, shape = constant(node.inputs[1]), get_shape(node.inputs[0])
    if weight is None or weight.dtype != ir.DataType.FLOAT or shape is None:
        return None
    size = tuple(length for length in shape[2:] if isinstance(length, int))
    if len(shape) != len(size) + 2 or len(size) != AXES:
        return None
    attributes = node.attributes
    automatic = attributes.get_string("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in attributes
    if automatic or attributes.get_int("group", 1) != 1:
        return None
    window, added = _window(node)
    taps = window.kernel[0]
    tiled = (window.strides[0], window.dilations[0], window.before[0], window.after[0], added[0]) == (taps, 1, 0, 0, 0)
    return size if tiled else None


def _window(node: ir.Node) -> tuple[Window, tuple[int, ...]]:
    """Return the window of a transposed convolution whose padding is explicit, and the output padding."""
    window = read_window(node, read_array(node.inputs[1]).shape[2:])
    assert window is not None
    return window, tuple(node.attributes.get_ints("output_padding") or (0,) * AXES)


def _replace(model: ir.Model, node: ir.Node, size: tuple[int, ...]) -> None:
    """Replace a transposed convolution by a 2-D one; the result keeps its name."""
    source, weight = node.inputs[:2]
    assert source is not None
    assert weight is not None
    channels, outputs, taps, *kernel = read_array(weight).shape
    window, added = _window(node)
    plane = window.over_space()
    builder = Builder(model, f"{display_name(node)}.conv2d")
    op, reshape = builder.op, builder.reshape
    x = reshape(op("Transpose", "frames", source, perm=FRAMES), "stacked", -1, channels, *size[1:])
    # the file keeps the trained weights; engines reorder them once, when they load it
    rows = op("Transpose", "weight.frames", weight, perm=[0, 2, 1, 3, 4])
    flat = reshape(rows, "weight", channels, taps * outputs, *kernel)
    biases = [
        op("Concat", "bias", *[value] * taps, axis=0) if taps > 1 else value
        for value in node.inputs[2:]
        if value is not None
    ]
    x = op(
        "ConvTranspose",
        "conv",
        x,
        flat,
        *biases,
        kernel_shape=kernel,
        pads=[*plane.before, *plane.after],
        strides=list(plane.strides),
        dilations=list(plane.dilations),
        output_padding=list(added[1:]),
    )
    rows_out, columns_out = (
        (length - 1) * stride + dilation * (taps - 1) + 1 + padding - before - after
        for length, stride, dilation, taps, padding, before, after in zip(
            size[1:],
            plane.strides,
            plane.dilations,
            plane.kernel,
            added[1:],
            plane.before,
            plane.after,
            strict=True,
        )
    )  # not the shape that the file states, which may be wrong or have names
    x = reshape(x, "volume", -1, taps * size[0], outputs, rows_out, columns_out)
    x = op("Transpose", "channels_first", x, perm=FRAMES)
    ir.convenience.replace_nodes_and_values(model.graph, node, [node], builder.nodes, [node.outputs[0]], [x])
