"""The pass: each convolution that can be rewritten gets the tile shape with the shortest predicted, or measured, time.

*Given* `y = MaxPool(Relu(Conv(x, W, b)))`, ReLU and pool each optional, with a kernel of 3x3x3 and stride 1.
*Result*: the same numbers up to rounding, from standard operators with less than half of the multiplications.
*Algebra*: `exporter.passes.winograd.cook_toom`, nested along the axes. *Source*: Lavin and Gray, *Fast Algorithms for
Convolutional Neural Networks* (CVPR 2016); for volumes, Budden et al., *Deep Tensor Convolution on Multicores* (ICML
2017).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import onnx_ir as ir

from exporter.passes.autotune import MIN_GAIN, fastest
from exporter.passes.base import PASSES_OPSET, GraphPass
from exporter.passes.conv_pattern import ConvMatch
from exporter.passes.graph import find_nodes, get_opset
from exporter.passes.winograd.cost import MAX_COST_RATIO, MEASURE_MARGIN, milliseconds, predict_ms
from exporter.passes.winograd.measure import layer_errors
from exporter.passes.winograd.pattern import KERNELS, TIME_KERNEL, match_conv
from exporter.passes.winograd.replace import replace_conv
from exporter.passes.winograd.tile_shape import DIRECT, TILE_SHAPES, TileShape
from exporter.types import GraphEngine

Measure = Callable[[ConvMatch, dict[str, TileShape | None], int], dict[str, float]]
"""Measures tile shapes of a convolution (None is the original) at an opset: {tile shape: milliseconds}."""

TIE_MARGIN = 0.1
"""Tile shapes whose times differ by less than this fraction count as equal; the most accurate of them is chosen."""
MEASURED_TIE_MARGIN = 0.05
"""The same for measured times, which are off by less."""


@dataclass(frozen=True)
class _Choice:
    tile_shape: TileShape | None
    reason: str
    predicted: float | None = None
    measured: float | None = None


class Winograd(GraphPass):
    """3x3x3 convolutions become products of transformed tiles, where that is faster."""

    name = "winograd"
    measures = True
    condition = (
        "A float32 Conv of 3x3x3, 1x3x3 or 3x3 taps, stride 1, one group, constant weights and a known input size."
    )
    reason = "It needs an eighth to a half of the multiplications, which take most of such a network's time."

    kernels: ClassVar[Sequence[tuple[int, ...]]] = KERNELS

    def __init__(
        self,
        *,
        precomputed: bool = False,
        max_tile: int = 4,
        measure: Measure | None = None,
        measure_errors: bool = False,
        engine: GraphEngine = "onnxruntime",
    ) -> None:
        """Set the pass up.

        Args:
            precomputed: store transformed weights in the file; otherwise engines compute them when they load it.
            max_tile: the largest tile along any axis; smaller tiles are more accurate.
            measure: decides instead of the cost model.
            measure_errors: measure the error of every rewritten layer, for `--explain`.
            engine: the engine for whose memory layouts the operators are chosen; tile shapes do not depend on it.
        """
        super().__init__()
        self.precomputed, self.measure, self.measure_errors = precomputed, measure, measure_errors
        self.engine: GraphEngine = engine
        self.tile_shapes = [shape for shape in TILE_SHAPES if max(shape.time, shape.space) <= max_tile]

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        modified, opset = False, get_opset(model)
        for conv in find_nodes(model, "Conv"):
            old = f"its opset is older than {PASSES_OPSET}" if opset < PASSES_OPSET else None
            match = old or match_conv(conv, self.kernels)
            if isinstance(match, str):
                if self.kernels is KERNELS:
                    self.decide(conv, DIRECT, match)
                continue
            choice = self._choose(match, opset)
            self._record(match, choice, opset)
            if choice.tile_shape is not None:
                replace_conv(model, match, choice.tile_shape, precomputed=self.precomputed, engine=self.engine)
                modified = True
        return modified

    def _record(self, match: ConvMatch, choice: _Choice, opset: int) -> None:
        title, reason, error = DIRECT, choice.reason, None
        if choice.tile_shape is not None:
            title = choice.tile_shape.title
            if self.measure_errors:
                error, direct = layer_errors(match, choice.tile_shape, opset)
                reason = f"{reason}, direct has an error of {direct:.1e}"
        times = {"predicted_ms": choice.predicted, "measured_ms": choice.measured}
        self.decide(match.conv, title, reason, error, replaces=match.time_only, **times)

    def _choose(self, match: ConvMatch, opset: int) -> _Choice:
        times = _predict(match)
        fitting = {shape.title: shape for shape in self.tile_shapes if shape.title in times}
        if not fitting:
            return _Choice(None, "no tile shape fits it")
        limit = (1 + TIE_MARGIN) * min(times[title] for title in fitting)
        best = next(title for title in fitting if times[title] <= limit)  # the most accurate one is first
        direct = times[DIRECT]
        if self.measure is not None:
            return self._choose_measured(match, times, fitting, best, opset)
        if times[best] > MAX_COST_RATIO * direct:
            return _Choice(None, f"{best} is predicted to take {times[best]:.1f} ms, not clearly less", direct)
        return _Choice(fitting[best], f"direct is predicted to take {direct:.1f} ms", times[best])

    def _choose_measured(
        self, match: ConvMatch, times: dict[str, float], fitting: dict[str, TileShape], best: str, opset: int
    ) -> _Choice:
        assert self.measure is not None
        if times[best] > MEASURE_MARGIN * times[DIRECT]:
            return _Choice(
                None, f"{best} is predicted to take {times[best]:.1f} ms, so nothing was measured", times[DIRECT]
            )
        shapes: dict[str, TileShape | None] = {DIRECT: None}
        shapes |= {title: shape for title, shape in fitting.items() if times[title] <= MEASURE_MARGIN * times[best]}
        measured = self.measure(match, shapes, opset)
        if DIRECT not in measured:
            return _Choice(
                None, "onnxruntime could not run it as a model of its own, so it was not measured", times[DIRECT]
            )
        chosen = fastest(measured, DIRECT)
        if chosen != DIRECT:  # as with predicted times, the most accurate of those that are nearly as fast
            limit = min((1 + MEASURED_TIE_MARGIN) * measured[chosen], (1 - MIN_GAIN) * measured[DIRECT])
            chosen = next(title for title in fitting if measured.get(title, limit + 1) <= limit)
        others = ", ".join(f"{title} {ms:.1f} ms" for title, ms in measured.items() if title != chosen)
        return _Choice(shapes[chosen], f"measured: {others}", times[chosen], measured.get(chosen))


class WinogradTime(Winograd):
    """Kernels of 3x1x1 are transformed along time, between layers with frames first."""

    name = "winograd-time"
    condition = (
        "A float32 Conv of 3x1x1 taps, stride 1, one group, constant weights and a known input size, with neighbours "
        "that an earlier pass rewrote with frames before channels."
    )
    reason = "It needs half of the multiplications, and the Transposes between it and its neighbours cancel."
    kernels = (TIME_KERNEL,)


def _predict(match: ConvMatch) -> dict[str, float]:
    """Return {tile shape: predicted milliseconds}, without the Transposes that neighbours of a time kernel undo."""
    times = predict_ms(match)
    if not match.time_only:
        return times
    given = match.inputs * prod(match.size) * match.given_frames_first
    wanted = match.outputs * prod(match.pooled) * match.wanted_frames_first
    undone = milliseconds(0, 2 * (given + wanted))
    return {title: ms + undone if title == DIRECT else ms - undone for title, ms in times.items()}
