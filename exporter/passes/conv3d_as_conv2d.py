"""3-D convolutions as 2-D convolutions of frames.

*Given* `y = MaxPool(Relu(Conv(x, W, b)))` of volumes, ReLU and pool each optional and in either order; W (K, C, t, h,
w). *Result*: the same sums, in another order, from a 2-D convolution. The image of output frame `i` has `t C` channels:
the input frames `i s - p` to `i s - p + t - 1`, which the kernel covers in time (s the stride, p the padding in time;
zeros beyond the ends); W becomes (K, t C, h, w). *Algebra*: summing over taps in time is summing
over channels. *Source*: the channels of a two-stream network's flow stack (Simonyan and Zisserman, 2014) are such taps.

onnxruntime has a blocked layout for images, which the convolution, the ReLU and the pool pass on to each other without
reordering data, and a direct kernel for fewer channels than a vector holds; it has neither for volumes. The result has
frames before channels, (N, T, K, H, W), like that of a Winograd convolution, so that nothing is transposed between the
two.

A pool that also covers several frames becomes two: over rows and columns, in the blocked layout, then over frames.

Both times are predicted with the numbers of `exporter.passes.winograd.cost`.
"""

from collections.abc import Callable
from math import prod

import numpy as np
import onnx_ir as ir

from exporter.passes import autotune
from exporter.passes.autotune import Measurements, fastest
from exporter.passes.base import PASSES_OPSET, NodePass
from exporter.passes.cancel_transposes import FRAMES, CancelTransposes
from exporter.passes.conv2d_emit import replace_by_conv2d
from exporter.passes.conv_pattern import CONV2D, MAX_FRAMES, VECTOR, ConvMatch, match_conv2d
from exporter.passes.graph import find_nodes, get_opset, get_shape
from exporter.passes.subgraph import INPUT_NAME, extract_subgraph
from exporter.passes.winograd.cost import (
    BLOCKED,
    FLOPS,
    MAX_COST_RATIO,
    MEASURE_MARGIN,
    VOLUMES,
    fill_vectors,
    milliseconds,
)
from exporter.passes.winograd.tile_shape import DIRECT
from models.progress import Progress, no_progress

Measure = Callable[[ir.Model, ir.Model], dict[str, float]]
"""Measures the nodes as they are and as a 2-D convolution: {variant: milliseconds}."""
OVERHEAD_MS = 0.05
"""What the additional operators take however small their tensors are."""


class Conv3dAsConv2d(NodePass):
    """A 3-D convolution is computed in 2-D, where that is faster: first layers, strided ones, kernels of one frame."""

    name = "conv3d-as-conv2d"
    measures = True
    condition = (
        "A float32 Conv of volumes with one group, constant weights, a known size, and at most "
        f"{MAX_FRAMES} frames if its kernel has several."
    )
    reason = "onnxruntime has a blocked layout for images, in which it pools without reordering, and none for volumes."
    min_opset = PASSES_OPSET
    operators = ("Conv",)

    def __init__(self, measure: Measure | None = None) -> None:
        """Set the pass up; `measure` decides if it is given, otherwise the cost model does."""
        super().__init__()
        self.measure = measure

    def rewrite_node(self, model: ir.Model, node: ir.Node) -> bool:
        """See `NodePass`."""
        match = match_conv2d(node)
        if match is None:
            return False
        predicted, direct = conv2d_ms(match), direct_ms(match)
        if self.measure is not None:
            if not match.few_channels and predicted >= MEASURE_MARGIN * direct:
                return False
            times = self.measure(*_variants(match, get_opset(model)))
            chosen = fastest(times, DIRECT)
            others = ", ".join(f"{variant} {ms:.1f} ms" for variant, ms in times.items() if variant != chosen)
            reason = f"measured: {others or 'nothing'}"
            self.decide(node, chosen, reason, measured_ms=times.get(chosen), replaces=True)
            if chosen == DIRECT:
                return False
        elif match.few_channels or predicted <= MAX_COST_RATIO * direct:
            layout = "its taps in time become channels, and its pool keeps the blocked layout"
            reason = layout if match.few_channels else f"direct is predicted to take {direct:.1f} ms"
            self.decide(node, CONV2D, reason, predicted_ms=predicted, replaces=True)
        else:
            return False
        replace_by_conv2d(model, match, channels_last=match.channels_last)
        return True


def _variants(match: ConvMatch, opset: int) -> tuple[ir.Model, ir.Model]:
    """Return models of the convolution as it is, and as a 2-D one."""
    direct, conv2d = (_extract(match, opset) for _ in range(2))
    copied = match_conv2d(find_nodes(conv2d, "Conv")[0])
    assert copied is not None
    replace_by_conv2d(conv2d, copied, channels_last=match.channels_last)
    CancelTransposes()(conv2d)
    return direct, conv2d


def _extract(match: ConvMatch, opset: int) -> ir.Model:
    """Return a model of the convolution, with the Transposes at either end that a 2-D convolution would undo."""
    before, after = list[ir.Node](), list[ir.Node]()
    if match.given_frames_first:
        frames, height, width = match.size
        shape = ir.Shape(["n", frames, match.inputs, height, width])
        source = ir.Value(name="frames", shape=shape, type=ir.TensorType(ir.DataType.FLOAT))
        before.append(_transpose(source, "frames_first"))
    if match.channels_last:
        after.append(next(iter(match.result.uses())).node)
    elif match.wanted_frames_first:
        after.append(_transpose(ir.Value(name="volume"), "frames_last"))
    return extract_subgraph([*before, *match.nodes, *after], opset)


def _transpose(source: ir.Value, name: str) -> ir.Node:
    return ir.Node("", "Transpose", [source], [ir.AttrInt64s("perm", FRAMES)], num_outputs=1, name=name)


def measure(
    direct: ir.Model, conv2d: ir.Model, progress: Progress = no_progress, cache: Measurements | None = None
) -> dict[str, float]:
    """Measure both variants on this machine with one clip: {variant: milliseconds}."""
    shape = (get_shape(direct.graph.inputs[0]) or ())[1:]
    x = np.random.default_rng(0).standard_normal((1, *(int(str(size)) for size in shape)), dtype=np.float32)
    models = {DIRECT: ir.to_proto(direct), CONV2D: ir.to_proto(conv2d)}
    return autotune.measure(models, {INPUT_NAME: x}, progress, cache)


def direct_ms(match: ConvMatch) -> float:
    """Return the predicted time of the original, with the Transposes that it needs where its neighbours do without."""
    source, volume, pooled = _numbers(match)
    columns = prod(match.convolved)
    taps = match.inputs * prod(match.window.kernel)
    moved = source + volume + match.outputs * taps
    if max(match.window.kernel) > 1 or max(match.window.strides) > 1:
        moved += taps * columns  # the taps of each output, beside each other
    if match.pool is not None:
        moved += volume + pooled
    moved += 2 * source * match.given_frames_first + 2 * pooled * match.wanted_frames_first
    return milliseconds(2 * volume * taps, moved, VOLUMES * FLOPS)


def conv2d_ms(match: ConvMatch) -> float:
    """Return the predicted time in 2-D: selected frames, the blocked layout and back, and Transposes that are left.

    The blocked layout fills channels up to whole vectors, of the input where it has at least one.
    """
    source, volume, pooled = _numbers(match)
    taps = match.inputs * prod(match.window.kernel)
    frames = match.convolved[0] * match.window.kernel[0]
    images = match.inputs * frames * prod(match.size[1:])
    moved, selected = images + volume + match.outputs * taps, 0.0
    inputs = match.inputs * match.window.kernel[0]
    filled = (fill_vectors(inputs) / inputs if inputs >= VECTOR else 1.0) * fill_vectors(match.outputs) / match.outputs
    if match.selects:
        selected = milliseconds(2 * images * match.size[0], source + images)
    if inputs >= VECTOR:
        moved += 2 * images
    left = match.outputs * match.convolved[0] * prod(match.pooled[1:])  # of the blocked layout
    if match.pool is not None:
        moved += volume + left
    moved += 2 * left
    if match.pools_frames:
        moved += 3 * left + pooled + 2 * pooled * match.wanted_frames_first
    else:
        moved += 2 * pooled * (not match.wanted_frames_first)
    moved += 2 * source * (not match.given_frames_first)
    return OVERHEAD_MS + selected + milliseconds(2 * volume * taps * filled, moved, BLOCKED * FLOPS)


def _numbers(match: ConvMatch) -> tuple[int, int, int]:
    """Return the numbers of the input, of the convolution's output, and of the result."""
    return (
        match.inputs * prod(match.size),
        match.outputs * prod(match.convolved),
        match.outputs * prod(match.pooled),
    )
