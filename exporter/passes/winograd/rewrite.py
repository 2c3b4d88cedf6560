"""The pass: each convolution that can be rewritten gets the tile shape that is predicted, or measured, as fastest.

*Given* `y = MaxPool(Relu(Conv(x, W, b)))`, ReLU and pool each optional, of 3x3x3 taps that move one place at a time.
*Result*: the same numbers up to rounding, from standard operators with less than half of the multiplications.
*Algebra*: `exporter.passes.winograd.cook_toom`, nested along the axes. *Source*: Lavin and Gray, *Fast Algorithms for
Convolutional Neural Networks* (CVPR 2016); for volumes, Budden et al., *Deep Tensor Convolution on Multicores* (ICML
2017).
"""

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from exporter.passes.autotune import MIN_GAIN, fastest
from exporter.passes.base import Decision, GraphPass, display_name, nodes_of, opset_of
from exporter.passes.winograd.cost import predicted
from exporter.passes.winograd.emit import replace_conv
from exporter.passes.winograd.pattern import MIN_OPSET, ConvMatch, match_conv
from exporter.passes.winograd.rounding_error import layer_errors
from exporter.passes.winograd.tile_shape import DIRECT, TILE_SHAPES, TileShape

Measure = Callable[[ConvMatch, dict[str, TileShape | None], int], dict[str, float]]
"""Measures a match's tile shapes (None stands for the convolution as it is) at an opset: {tile shape: milliseconds}."""

MAX_COST_RATIO = 0.9
"""A tile shape must be predicted to take at most this share of the direct time: the model is not better than that."""
TIE_MARGIN = 0.1
"""Forms predicted within this share of the fastest are as good, and the most accurate of them is taken."""
MEASURE_MARGIN = 1.5
"""With `--autotune`, tile shapes predicted within this factor of the best are measured, and the direct tile shape
always."""


@dataclass(frozen=True)
class _Choice:
    tile_shape: TileShape | None
    reason: str
    predicted: float | None = None
    measured: float | None = None


class Winograd(GraphPass):
    """3x3x3 convolutions become products of transformed tiles, where that is faster."""

    name = "winograd"
    condition = "A float32 Conv of 3x3x3, 1x3x3 or 3x3 taps, stride 1, one group, constant weights and a known size."
    reason = "It takes an eighth to less than half of the products, which is where such a network spends its time."

    def __init__(
        self, *, precomputed: bool = False, largest: int = 4, measure: Measure | None = None, errors: bool = False
    ) -> None:
        """Set the pass up.

        Args:
            precomputed: keep transformed weights in the file; otherwise the graph computes them at load.
            largest: the largest tile along any axis; smaller tiles are more accurate.
            measure: decides instead of the cost model.
            errors: measure the error of every layer that is rewritten, for `--explain`.
        """
        super().__init__()
        self.precomputed, self.measure, self.errors = precomputed, measure, errors
        self.tile_shapes = [
            tile_shape for tile_shape in TILE_SHAPES if max(tile_shape.time, tile_shape.space) <= largest
        ]

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        modified = False
        for conv in nodes_of(model, "Conv"):
            match = match_conv(conv) if opset_of(model) >= MIN_OPSET else f"its opset is older than {MIN_OPSET}"
            if isinstance(match, str):
                self.decide(conv, DIRECT, match)
                continue
            choice = self._choose(match, opset_of(model))
            self.decisions.append(self._decision(match, choice, opset_of(model)))
            if choice.tile_shape is not None:
                replace_conv(model, match, choice.tile_shape, precomputed=self.precomputed)
                modified = True
        return modified

    def _decision(self, match: ConvMatch, choice: _Choice, opset: int) -> Decision:
        title, reason, error = DIRECT, choice.reason, None
        if choice.tile_shape is not None:
            title = choice.tile_shape.title
            if self.errors:
                found = layer_errors(match, choice.tile_shape, opset)
                error, reason = found.rewritten, f"{reason}, direct errs {found.direct:.1e}"
        conv = match.conv
        return Decision(display_name(conv), conv.op_type, title, reason, choice.predicted, choice.measured, error)

    def _choose(self, match: ConvMatch, opset: int) -> _Choice:
        times = predicted(match)
        able = {tile_shape.title: tile_shape for tile_shape in self.tile_shapes if tile_shape.title in times}
        if not able:
            return _Choice(None, "no tile fits it")
        least = min(times[title] for title in able)
        best = next(
            title for title in able if times[title] <= (1 + TIE_MARGIN) * least
        )  # the most accurate comes first
        direct = times[DIRECT]
        if self.measure is not None:
            return self._measured(match, times, able, best, opset)
        if times[best] > MAX_COST_RATIO * direct:
            return _Choice(None, f"{best} should take {times[best]:.1f} ms, no clear gain", direct)
        return _Choice(able[best], f"direct should take {direct:.1f} ms", times[best])

    def _measured(
        self, match: ConvMatch, times: dict[str, float], able: dict[str, TileShape], best: str, opset: int
    ) -> _Choice:
        assert self.measure is not None
        if times[best] > MEASURE_MARGIN * times[DIRECT]:
            return _Choice(None, f"{best} should take {times[best]:.1f} ms, so nothing was measured", times[DIRECT])
        near: dict[str, TileShape | None] = {DIRECT: None}
        near |= {
            title: tile_shape for title, tile_shape in able.items() if times[title] <= MEASURE_MARGIN * times[best]
        }
        taken = self.measure(match, near, opset)
        if DIRECT not in taken:
            return _Choice(None, "onnxruntime could not run it alone, so nothing is known", times[DIRECT])
        chosen = fastest(taken, DIRECT)
        if chosen != DIRECT:  # as with predicted times: of what is nearly as fast, the most accurate
            most = min((1 + TIE_MARGIN) * taken[chosen], (1 - MIN_GAIN) * taken[DIRECT])
            chosen = next(title for title in able if taken.get(title, most + 1) <= most)
        others = ", ".join(f"{title} {ms:.1f} ms" for title, ms in taken.items() if title != chosen)
        return _Choice(near[chosen], f"measured: {others}", times[chosen], taken.get(chosen))
