"""3-D convolutions of a few channels as 2-D convolutions: the first layer of a video network.

*Given* `y = MaxPool(Relu(Conv(x, W, b)))` of volumes, in either order, the pool of single frames; W (K, C, t, h, w).
*Result*: the same sums, in another order, from a 2-D convolution. The image of output frame `i` has `t C` channels: the
input frames `i s - p` to `i s - p + t - 1` that its taps in time read (s the stride, p the padding in time; zeros
beyond the ends); W becomes (K, t C, h, w). *Algebra*: summing over taps in time is summing over channels.

onnxruntime has a blocked layout for images, which the convolution, the ReLU and the pool pass on to each other without
reordering data, and a direct kernel for fewer channels than a vector holds; it has neither for volumes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes import autotune
from exporter.passes.autotune import fastest
from exporter.passes.base import (
    Decision,
    GraphPass,
    constant,
    display_name,
    find_nodes,
    following_relu_and_pool,
    get_opset,
    single_consumer,
)
from exporter.passes.builder import Builder
from exporter.passes.cancel_transposes import FIRST, IMAGE_LAST, LAST, CancelTransposes, permuted
from exporter.passes.shapes import get_shape
from exporter.passes.subgraph import INPUT, extract_subgraph
from models.progress import Progress, no_progress

VECTOR = 16
"""Floats of an AVX-512 vector: the direct kernel takes fewer channels than that."""
DIRECT, CONV2D = "direct", "conv2d"
MAX_FRAMES = 64
"""Frames, at most: the matrix that selects input frames grows with their square."""
AXES = 3
"""Axes of a 3-D convolution."""
MIN_OPSET = 13

Measure = Callable[[ir.Model, ir.Model], dict[str, float]]
"""Measures the nodes as they are and as a 2-D convolution: {variant: milliseconds}."""


@dataclass(frozen=True)
class _Window:
    """The window of a convolution or a pool over (T, H, W)."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    def output_size(self, size: tuple[int, ...]) -> tuple[int, int, int]:
        """Return (T, H, W) of the output for an input of `size`, rounded down."""
        reach = [dilation * (taps - 1) + 1 for taps, dilation in zip(self.kernel, self.dilations, strict=True)]
        time, height, width = (
            (length + before + after - taps) // stride + 1
            for length, before, after, taps, stride in zip(
                size, self.before, self.after, reach, self.strides, strict=True
            )
        )
        return time, height, width

    def attributes_2d(self) -> dict[str, list[int]]:
        """Return the attributes of the same window over (H, W)."""
        return {
            "kernel_shape": list(self.kernel[1:]),
            "strides": list(self.strides[1:]),
            "dilations": list(self.dilations[1:]),
            "pads": [*self.before[1:], *self.after[1:]],
        }


@dataclass(frozen=True)
class _StemMatch:
    """A convolution that can be computed in 2-D, with the ReLU and the pool after it.

    Attributes:
        nodes: convolution, ReLU if there is one, and pool, in the order of the graph.
        size: (T, H, W) of the input.
        conv: the convolution's window.
        pool: the pool's window.
    """

    nodes: tuple[ir.Node, ...]
    size: tuple[int, ...]
    conv: _Window
    pool: _Window

    @property
    def result(self) -> ir.Value:
        """The output of the last node."""
        return self.nodes[-1].outputs[0]

    @property
    def channels_last(self) -> bool:
        """Whether every consumer of the result transposes it to channels last."""
        uses = [use.node for use in self.result.uses()]
        transposed = all(permuted(node, self.result.producer()) == LAST for node in uses)
        return bool(uses) and transposed and not self.result.is_graph_output()


class Conv3dAsConv2d(GraphPass):
    """A 3-D convolution of a few channels, as networks begin with, and its pool are computed in 2-D."""

    name = "conv3d-as-conv2d"
    condition = (
        f"A float32 Conv of volumes with fewer than {VECTOR} taps in time x channels, constant weights, a known size, "
        f"at most {MAX_FRAMES} frames, and a max pool of single frames after it."
    )
    reason = "onnxruntime has a blocked layout for images, in which it pools without reordering, and none for volumes."

    def __init__(self, measure: Measure | None = None) -> None:
        """Set the pass up; `measure` decides if it is given, otherwise the condition does."""
        super().__init__()
        self.measure = measure

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        modified = False
        for conv in find_nodes(model, "Conv"):
            stem = _match_stem(conv) if get_opset(model) >= MIN_OPSET else None
            if stem is None:
                continue
            decision = self._decision(stem, get_opset(model))
            self.decisions.append(decision)
            if decision.action == CONV2D:
                _replace(model, stem, channels_last=stem.channels_last)
                modified = True
        return modified

    def _decision(self, stem: _StemMatch, opset: int) -> Decision:
        name, operator = display_name(stem.nodes[0]), stem.nodes[0].op_type
        if self.measure is None:
            reason = "its taps in time become channels, and its pool keeps the blocked layout"
            return Decision(name, operator, CONV2D, reason, replaces=True)
        ends = [use.node for use in stem.result.uses()][:1] if stem.channels_last else []
        direct, conv2d = (extract_subgraph([*stem.nodes, *ends], opset) for _ in range(2))
        copied = _match_stem(find_nodes(conv2d, "Conv")[0])
        assert copied is not None
        _replace(conv2d, copied, channels_last=stem.channels_last)
        CancelTransposes()(conv2d)
        times = self.measure(direct, conv2d)
        chosen = fastest(times, DIRECT)
        others = ", ".join(f"{variant} {ms:.1f} ms" for variant, ms in times.items() if variant != chosen)
        reason = f"measured: {others or 'nothing'}"
        return Decision(name, operator, chosen, reason, measured_ms=times.get(chosen), replaces=True)


def measure(
    direct: ir.Model, conv2d: ir.Model, progress: Progress = no_progress, cache: autotune.Measurements | None = None
) -> dict[str, float]:
    """Measure both variants on this machine with one clip: {variant: milliseconds}."""
    shape = (get_shape(direct.graph.inputs[0]) or ())[1:]
    x = np.random.default_rng(0).standard_normal((1, *(int(str(size)) for size in shape)), dtype=np.float32)
    models = {DIRECT: ir.to_proto(direct), CONV2D: ir.to_proto(conv2d)}
    return autotune.measure(models, {INPUT: x}, progress, cache)


def _match_stem(conv: ir.Node) -> _StemMatch | None:
    weight, shape = constant(conv.inputs[1]), get_shape(conv.inputs[0])
    relu, pool = following_relu_and_pool(conv)
    if weight is None or weight.dtype != ir.DataType.FLOAT or pool is None or shape is None:
        return None
    size = tuple(length for length in shape[2:] if isinstance(length, int))
    _, channels, *kernel = weight.shape.numpy()
    if len(kernel) != AXES or len(size) != AXES or channels * kernel[0] >= VECTOR or size[0] > MAX_FRAMES:
        return None
    window, pooling = _read_window(conv, tuple(kernel)), _read_window(pool, None)
    if window is None or pooling is None or conv.attributes.get_int("group", 1) != 1:
        return None
    single = (pooling.kernel[0], pooling.strides[0], pooling.before[0], pooling.after[0]) == (1, 1, 0, 0)
    if not single or min(pooling.output_size(window.output_size(size))) < 1:
        return None
    # the ReLU may be before or after the pool
    between = [relu] if relu is not None and single_consumer(conv.outputs[0]) is relu else []
    after = [relu] if relu is not None and not between else []
    return _StemMatch((conv, *between, pool, *after), size, window, pooling)


def _read_window(node: ir.Node, kernel: tuple[int, ...] | None) -> _Window | None:
    """Return a node's window, or None if its padding is automatic or its output size is rounded up."""
    auto, ceil = node.attributes.get_string("auto_pad", "NOTSET"), node.attributes.get_int("ceil_mode", 0)
    kernel = kernel or tuple(node.attributes.get_ints("kernel_shape") or ())
    if auto not in ("NOTSET", "VALID") or ceil != 0 or len(kernel) != AXES:
        return None
    pads = tuple((node.attributes.get_ints("pads") if auto == "NOTSET" else None) or [0] * (2 * AXES))
    strides, dilations = (tuple(node.attributes.get_ints(key) or [1] * AXES) for key in ("strides", "dilations"))
    return _Window(kernel, strides, dilations, pads[:AXES], pads[AXES:])


def _replace(model: ir.Model, stem: _StemMatch, *, channels_last: bool) -> None:
    """Replace a stem by a 2-D convolution; `channels_last` is how its consumers read the result."""
    conv = stem.nodes[0]
    source, weight, tensor = conv.inputs[0], conv.inputs[1], constant(conv.inputs[1])
    assert source is not None
    assert weight is not None
    assert tensor is not None
    outputs, channels, taps, *_ = tensor.shape.numpy()
    frames, height, width = stem.size
    builder = Builder(model, f"{display_name(conv)}.conv2d")
    op, reshape = builder.op, builder.reshape
    x = op("Transpose", "frames", source, perm=[0, 2, 1, 3, 4])
    selection = builder.constant(f"conv2d.frames.{frames}.{taps}", _frame_selection(stem))
    x = op("MatMul", "select_frames", selection, reshape(x, "rows", -1, frames, channels * height * width))
    x = reshape(x, "stacked", -1, taps * channels, height, width)
    # the file keeps the trained weights; engines reorder them once, when they load it
    rows = reshape(weight, "weight.taps", outputs, channels, taps, prod(stem.conv.kernel[1:]))
    ordered = op("Transpose", "weight.frames", rows, perm=[0, 2, 1, 3])
    flat = reshape(ordered, "weight", outputs, taps * channels, *stem.conv.kernel[1:])
    biases = [value for value in conv.inputs[2:] if value is not None]
    for node in stem.nodes:
        if node is conv:
            x = op("Conv", "conv", x, flat, *biases, **stem.conv.attributes_2d())
        elif node.op_type == "Relu":
            x = op("Relu", "relu", x)
        else:
            x = op("MaxPool", "pool", x, **stem.pool.attributes_2d())
    frames_out, rows, columns = stem.pool.output_size(stem.conv.output_size(stem.size))
    if channels_last:
        x = reshape(
            op("Transpose", "channels_last", x, perm=IMAGE_LAST), "volume", -1, frames_out, rows, columns, outputs
        )
        x = op("Transpose", "channels_first", x, perm=FIRST)
    else:
        x = op(
            "Transpose",
            "channels_first",
            reshape(x, "volume", -1, frames_out, outputs, rows, columns),
            perm=[0, 2, 1, 3, 4],
        )
    ir.convenience.replace_nodes_and_values(model.graph, stem.nodes[-1], stem.nodes, builder.nodes, [stem.result], [x])


def _frame_selection(stem: _StemMatch) -> NDArray[np.float32]:
    """Return the matrix (T' t, T) that is 1 where a tap of an output frame reads an input frame, otherwise 0."""
    frames_out, taps, frames = stem.conv.output_size(stem.size)[0], stem.conv.kernel[0], stem.size[0]
    selection = np.zeros((frames_out, taps, frames), np.float32)
    for output in range(frames_out):
        for tap in range(taps):
            frame = output * stem.conv.strides[0] - stem.conv.before[0] + tap * stem.conv.dilations[0]
            if 0 <= frame < frames:
                selection[output, tap, frame] = 1
    return selection.reshape(-1, frames)
