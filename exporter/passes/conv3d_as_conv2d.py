"""Convolutions of a few channels as convolutions of images: the first layer of a video network.

*Given* `y = MaxPool(Relu(Conv(x, W, b)))` of volumes, in either order, the pool of single frames; W (K, C, t, h, w).
*Result*: the same sums, in another order, from a convolution of images. The image of output frame `i` has `t C`
channels, the frames `i s - p` to `i s - p + t - 1` that its taps in time see (s the stride, p the padding in time;
zeros beyond the ends); W becomes (K, t C, h, w). *Algebra*: summing over taps in time is summing over channels.

onnxruntime has a blocked layout for images in which the convolution, the ReLU and the pool pass on what they computed
without rearranging it, and a direct kernel for fewer channels than a vector holds; it has neither for volumes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

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
    following_relu_and_pool,
    nodes_of,
    opset_of,
    single_consumer,
)
from exporter.passes.builder import Builder
from exporter.passes.cancel_transposes import FIRST, IMAGE_LAST, LAST, CancelTransposes, permuted
from exporter.passes.shapes import shape_of
from exporter.passes.subgraph import INPUT, extract_subgraph
from models.progress import Progress, no_progress

VECTOR = 16
"""Floats of a vector of AVX-512: the direct kernel takes fewer channels than that."""
DIRECT, PICTURES = "direct", "pictures"
MAX_FRAMES = 64
"""Frames: the matrix that says which frame sees which grows with their square."""
SPATIAL_AXES = 3
"""Axes that a kernel moves along."""
MIN_OPSET = 13

Measure = Callable[[ir.Model, ir.Model], dict[str, float]]
"""Measures the chain as it is, and as images: {form: milliseconds}."""


@dataclass(frozen=True)
class _Window:
    """How a kernel moves over (T, H, W)."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    def over(self, size: tuple[int, ...]) -> tuple[int, int, int]:
        """Return (T, H, W) of what it makes of `size`, rounded down."""
        reach = [dilation * (taps - 1) + 1 for taps, dilation in zip(self.kernel, self.dilations, strict=True)]
        time, height, width = (
            (length + before + after - taps) // stride + 1
            for length, before, after, taps, stride in zip(
                size, self.before, self.after, reach, self.strides, strict=True
            )
        )
        return time, height, width

    def in_space(self) -> dict[str, list[int]]:
        """Return the attributes of the same kernel over images."""
        return {
            "kernel_shape": list(self.kernel[1:]),
            "strides": list(self.strides[1:]),
            "dilations": list(self.dilations[1:]),
            "pads": [*self.before[1:], *self.after[1:]],
        }


@dataclass(frozen=True)
class _StemMatch:
    """A convolution that can be computed as images, with the ReLU and the pool after it.

    Attributes:
        nodes: convolution, ReLU if there is one, and pool, in the order of the graph.
        size: (T, H, W) of the input.
        conv: how the convolution moves.
        pool: how the pool moves.
    """

    nodes: tuple[ir.Node, ...]
    size: tuple[int, ...]
    conv: _Window
    pool: _Window

    @property
    def result(self) -> ir.Value:
        """Return what the rest of the graph reads."""
        return self.nodes[-1].outputs[0]

    @property
    def last(self) -> bool:
        """Return whether everything that reads the result wants channels last."""
        uses = [use.node for use in self.result.uses()]
        wanted = all(permuted(node, self.result.producer()) == LAST for node in uses)
        return bool(uses) and wanted and not self.result.is_graph_output()


class Conv3dAsConv2d(GraphPass):
    """A convolution of a few channels, as networks begin with, and its pool are computed frame by frame as images."""

    name = "conv3d-as-conv2d"
    condition = (
        f"A float32 Conv of volumes with fewer than {VECTOR} taps in time x channels, constant weights, a known size, "
        f"at most {MAX_FRAMES} frames, and a max pool of single frames behind it."
    )
    reason = "onnxruntime's blocked layout for pictures pools without rearranging; volumes have none."

    def __init__(self, measure: Measure | None = None) -> None:
        """Set the pass up; `measure` decides where it is given, and the condition alone otherwise."""
        super().__init__()
        self.measure = measure

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        modified = False
        for conv in nodes_of(model, "Conv"):
            stem = _stem(conv) if opset_of(model) >= MIN_OPSET else None
            if stem is None:
                continue
            decision = self._decision(stem, opset_of(model))
            self.decisions.append(decision)
            if decision.action == PICTURES:
                _replace(model, stem, last=stem.last)
                modified = True
        return modified

    def _decision(self, stem: _StemMatch, opset: int) -> Decision:
        name, operator = display_name(stem.nodes[0]), stem.nodes[0].op_type
        if self.measure is None:
            reason = "its taps in time become channels, and its pool needs no other layout"
            return Decision(name, operator, PICTURES, reason, replaces=True)
        ends = [use.node for use in stem.result.uses()][:1] if stem.last else []
        direct, pictures = (extract_subgraph([*stem.nodes, *ends], opset) for _ in range(2))
        copied = _stem(nodes_of(pictures, "Conv")[0])
        assert copied is not None
        _replace(pictures, copied, last=stem.last)
        CancelTransposes()(pictures)
        times = self.measure(direct, pictures)
        chosen = fastest(times, DIRECT)
        others = ", ".join(f"{form} {ms:.1f} ms" for form, ms in times.items() if form != chosen)
        reason = f"measured: {others or 'nothing'}"
        return Decision(name, operator, chosen, reason, measured_ms=times.get(chosen), replaces=True)


def measure(
    direct: ir.Model, pictures: ir.Model, progress: Progress = no_progress, cache: Path | None = None
) -> dict[str, float]:
    """Run both forms in turn on this machine, one clip each: {form: milliseconds}."""
    shape = (shape_of(direct.graph.inputs[0]) or ())[1:]
    x = np.random.default_rng(0).standard_normal((1, *(int(str(size)) for size in shape)), dtype=np.float32)
    models = {DIRECT: ir.to_proto(direct), PICTURES: ir.to_proto(pictures)}
    return autotune.measure(models, {INPUT: x}, progress, cache)


def _stem(conv: ir.Node) -> _StemMatch | None:
    weight, shape = constant(conv.inputs[1]), shape_of(conv.inputs[0])
    relu, pool = following_relu_and_pool(conv)
    if weight is None or weight.dtype != ir.DataType.FLOAT or pool is None or shape is None:
        return None
    size = tuple(length for length in shape[2:] if isinstance(length, int))
    _, channels, *kernel = weight.shape.numpy()
    if (
        len(kernel) != SPATIAL_AXES
        or len(size) != SPATIAL_AXES
        or channels * kernel[0] >= VECTOR
        or size[0] > MAX_FRAMES
    ):
        return None
    moves, pooled = _sliding(conv, tuple(kernel)), _sliding(pool, None)
    if moves is None or pooled is None or conv.attributes.get_int("group", 1) != 1:
        return None
    single = (pooled.kernel[0], pooled.strides[0], pooled.before[0], pooled.after[0]) == (1, 1, 0, 0)
    if not single or min(pooled.over(moves.over(size))) < 1:
        return None
    # a ReLU may stand on either side of the pool
    between = [relu] if relu is not None and single_consumer(conv.outputs[0]) is relu else []
    behind = [relu] if relu is not None and not between else []
    return _StemMatch((conv, *between, pool, *behind), size, moves, pooled)


def _sliding(node: ir.Node, kernel: tuple[int, ...] | None) -> _Window | None:
    """Return how a node moves, or None where its padding is not given in numbers or its size is rounded up."""
    auto, ceil = node.attributes.get_string("auto_pad", "NOTSET"), node.attributes.get_int("ceil_mode", 0)
    kernel = kernel or tuple(node.attributes.get_ints("kernel_shape") or ())
    if auto not in ("NOTSET", "VALID") or ceil != 0 or len(kernel) != SPATIAL_AXES:
        return None
    pads = tuple((node.attributes.get_ints("pads") if auto == "NOTSET" else None) or [0] * (2 * SPATIAL_AXES))
    strides, dilations = (
        tuple(node.attributes.get_ints(key) or [1] * SPATIAL_AXES) for key in ("strides", "dilations")
    )
    return _Window(kernel, strides, dilations, pads[:SPATIAL_AXES], pads[SPATIAL_AXES:])


def _replace(model: ir.Model, stem: _StemMatch, *, last: bool) -> None:
    """Put a stem's images in its place; `last` says that its result is wanted with channels last."""
    conv = stem.nodes[0]
    source, weight, held = conv.inputs[0], conv.inputs[1], constant(conv.inputs[1])
    assert source is not None
    assert weight is not None
    assert held is not None
    outputs, channels, taps, *_ = held.shape.numpy()
    frames, height, width = stem.size
    built = Builder(model, f"{display_name(conv)}.pictures")
    op, reshape = built.op, built.reshape
    x = op("Transpose", "frames", source, perm=[0, 2, 1, 3, 4])
    seen = built.constant(f"pictures.frames.{frames}.{taps}", _frames_seen(stem))
    x = op("MatMul", "seen", seen, reshape(x, "rows", -1, frames, channels * height * width))
    x = reshape(x, "stacked", -1, taps * channels, height, width)
    # the weights stay as trained in the file; engines turn them once, when they load it
    rows = reshape(weight, "weight.taps", outputs, channels, taps, prod(stem.conv.kernel[1:]))
    turned = op("Transpose", "weight.frames", rows, perm=[0, 2, 1, 3])
    flat = reshape(turned, "weight", outputs, taps * channels, *stem.conv.kernel[1:])
    biases = [value for value in conv.inputs[2:] if value is not None]
    for node in stem.nodes:
        if node is conv:
            x = op("Conv", "conv", x, flat, *biases, **stem.conv.in_space())
        elif node.op_type == "Relu":
            x = op("Relu", "relu", x)
        else:
            x = op("MaxPool", "pool", x, **stem.pool.in_space())
    made, rows, columns = stem.pool.over(stem.conv.over(stem.size))
    if last:
        x = reshape(op("Transpose", "last", x, perm=IMAGE_LAST), "volume", -1, made, rows, columns, outputs)
        x = op("Transpose", "first", x, perm=FIRST)
    else:
        x = op("Transpose", "first", reshape(x, "volume", -1, made, outputs, rows, columns), perm=[0, 2, 1, 3, 4])
    ir.convenience.replace_nodes_and_values(model.graph, stem.nodes[-1], stem.nodes, built.nodes, [stem.result], [x])


def _frames_seen(stem: _StemMatch) -> NDArray[np.float32]:
    """Return ones where a tap of an output frame sees an input frame: (T' t, T), zeros beyond the ends."""
    made, taps, frames = stem.conv.over(stem.size)[0], stem.conv.kernel[0], stem.size[0]
    seen = np.zeros((made, taps, frames), np.float32)
    for output in range(made):
        for tap in range(taps):
            frame = output * stem.conv.strides[0] - stem.conv.before[0] + tap * stem.conv.dilations[0]
            if 0 <= frame < frames:
                seen[output, tap, frame] = 1
    return seen.reshape(-1, frames)
