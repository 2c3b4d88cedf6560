"""Which two source pixels each pixel of a window lies between, and the weight of the second, as ONNX nodes.

*Given* an axis of W source pixels that is resized to w, the pixel d of the result lies at the source position
(d + 1/2) W / w - 1/2 = p / q, with p = (2d + 1) W - w and q = 2w. *Result*: its neighbours floor(p / q) and the next,
clamped to the edges, and the fractional part of p / q.

OpenCV computes p / q in float64, rounds it to float32, and rounds the fraction to 11 bits, half to even. *Algebra*: p /
q is at least 1 / (q 2^24) away from a tie of float32, far more than float64's error, so rounding the exact fraction
gives the same float32. In [2^k, 2^(k+1)) it has 23 - k bits after the point: 11 of the weight, and 12 - k on which the
weight is rounded. More than 12 of these cannot matter, because the fraction is at least 1 / (2q) of a weight's step
away from a tie. So two divisions give OpenCV's weights in integers that fit 32 bits: 2048 (p mod q) / q, and what is
left of it times 2^(12-k). A weight of 2048 is the next pixel alone. It holds for up to 8192 source pixels and w below
2048. *Source*: OpenCV, modules/imgproc/src/resize.cpp, `resize_` (`fx = (float)((dx+0.5)*scale_x - 0.5)`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from exporter.passes.builder import Builder

if TYPE_CHECKING:
    from models.preprocessing.recipe import Interpolation

WEIGHT_ONE = 1 << 11
"""OpenCV's weight of 1."""
MANTISSA_BITS, MIN_EXPONENT, MAX_EXPONENT = 23, -12, 16
"""Of float32, and of the positions that are rounded to it; smaller ones are rounded like the least."""
LOWER_BITS = 12
"""Bits after the point of a float32 in [1, 2) that are below a weight's 11."""

INT64, FLOAT = ir.DataType.INT64, ir.DataType.FLOAT


@dataclass(frozen=True)
class Window:
    """The pixels of a resized axis that are computed: `count` of them from `first`, of a resized length `resized`.

    Attributes:
        size: the source's length, int64 (1,).
        resized: the resized length, int64 (1,).
        first: the first pixel, int64 (1,).
        count: how many.
    """

    size: ir.Value
    resized: ir.Value
    first: ir.Value
    count: int


@dataclass(frozen=True)
class Taps:
    """What each pixel of a window is made of.

    Attributes:
        low: index of the source pixel before it, int64 (count,).
        high: index of the one after it.
        before: weight of the first: int64 from 0 to 2048 for `opencv`, else float32 from 0 to 1.
        after: weight of the second.
    """

    low: ir.Value
    high: ir.Value
    before: ir.Value
    after: ir.Value


class Axis:
    """Emits the nodes of one axis, named `preprocess.<axis>.<step>`."""

    def __init__(self, build: Builder, name: str) -> None:
        self._build, self._name = build, name

    def taps(self, window: Window, interpolation: Interpolation) -> Taps:
        """Return what the pixels of a window are made of, as an origin's library has it."""
        if interpolation == "torch":
            return self._torch_taps(window)
        low, rest, divisor = self._divide(window)
        if interpolation == "opencv":
            after = self._opencv_weight(low, rest, divisor)
            return Taps(*self._indices(low, window), self.op("Sub", "before", self.number(WEIGHT_ONE), after), after)
        after = self.op("Div", "after", self.to(rest, FLOAT, "rest.float"), self.to(divisor, FLOAT, "divisor.float"))
        before = self.op("Sub", "before", self.number(1, np.float32), after)
        low_index, high_index = self._indices(low, window)
        # scikit-image takes 0 for what lies beyond the edges
        before = self.op("Mul", "before.inside", before, self._equal(low, low_index, "low.inside"))
        high = self.op("Add", "next", low, self.number(1))
        after = self.op("Mul", "after.inside", after, self._equal(high, high_index, "high.inside"))
        return Taps(low_index, high_index, before, after)

    def _divide(self, window: Window) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Return floor(p / q), p mod q and q."""
        pixel = self.op("Add", "pixel", window.first, self._pixels(window.count))
        odd = self.op("Add", "odd", self.op("Add", "twice", pixel, pixel), self.number(1))
        p = self.op("Sub", "position", self.op("Mul", "scaled", odd, window.size), window.resized)
        q = self.op("Add", "divisor", window.resized, window.resized)
        # p / q is above -1/2, and Div rounds towards 0
        low = self.op("Sub", "floor", self.op("Div", "quotient", self.op("Add", "shifted", p, q), q), self.number(1))
        return low, self.op("Sub", "rest", p, self.op("Mul", "whole", low, q)), q

    def _opencv_weight(self, low: ir.Value, rest: ir.Value, divisor: ir.Value) -> ir.Value:
        """Return the weight of the pixel after each position, as OpenCV rounds it."""
        product = self.op("Mul", "weight.scaled", rest, self.number(WEIGHT_ONE))
        weight = self.op("Div", "weight.floor", product, divisor)
        left = self.op("Sub", "weight.rest", product, self.op("Mul", "weight.whole", weight, divisor))
        # what is left, in float32's steps at this position
        column = self.op("Unsqueeze", "floor.column", low, self.number(1))
        powers = self._build.integers("preprocess.powers", [1 << bit for bit in range(1, LOWER_BITS + 1)])
        larger = self.op("GreaterOrEqual", "larger", column, powers)
        exponent = self.op(
            "ReduceSum", "exponent", self.to(larger, INT64, "larger.integer"), self.number(1), keepdims=0
        )
        steps = self._build.integers("preprocess.steps", [1 << bit for bit in range(LOWER_BITS, -1, -1)])
        step = self.op("Gather", "step", steps, exponent, axis=0)
        product = self.op("Mul", "lower.scaled", left, step)
        lower = self.op("Div", "lower.floor", product, divisor)
        left = self.op("Sub", "lower.rest", product, self.op("Mul", "lower.whole", lower, divisor))
        up = self.op("GreaterOrEqual", "lower.above", self.op("Add", "lower.twice", left, left), divisor)
        lower = self.op("Add", "lower", lower, self.to(up, INT64, "lower.up"))
        # half to even
        odd = self.op("Mod", "weight.odd", weight, self.number(2))
        twice = self.op("Add", "tie", self.op("Add", "lower.double", lower, lower), odd)
        up = self.op("Greater", "weight.above", twice, step)
        return self.op("Add", "after", weight, self.to(up, INT64, "weight.up"))

    def _torch_taps(self, window: Window) -> Taps:
        """Return what `torch.nn.functional.interpolate` takes: float32 positions, at least 0.

        In float64 too they are rounded to float32, so that the reference evaluator computes the same function.
        """
        scale = self.op(
            "Div", "scale", self.to(window.size, FLOAT, "size.float"), self.to(window.resized, FLOAT, "resized.float")
        )
        half = self.number(0.5, np.float32)
        pixels = self._build.constant(
            f"preprocess.centres.{window.count}", np.arange(window.count, dtype=np.float32) + 0.5
        )
        centre = self.op("Add", "centre", self.to(window.first, FLOAT, "first.float"), pixels)
        scaled = self._to_24_bits(self.op("Mul", "scaled", self._to_24_bits(scale, "scale"), centre), "scaled")
        position = self.op("Sub", "position", scaled, half)  # exact
        position = self.op("Max", "position.limited", position, self.number(0, np.float32))
        floor = self.op("Floor", "floor", position)
        after = self.op("Sub", "after", position, floor)
        before = self.op("Sub", "before", self.number(1, np.float32), after)
        return Taps(*self._indices(self.to(floor, INT64, "low"), window), before, after)

    def _to_24_bits(self, value: ir.Value, step: str) -> ir.Value:
        """Return positive numbers rounded to float32, half to even: themselves, where engines compute in float32."""
        exponents = range(MIN_EXPONENT, MAX_EXPONENT + 1)
        powers = self._build.constant("preprocess.float32.powers", np.exp2([*exponents]).astype(np.float32))
        column = self.op("Unsqueeze", f"{step}.column", value, self.number(1))
        reached = self.op("GreaterOrEqual", f"{step}.reached", column, powers)
        index = self.op(
            "ReduceSum", f"{step}.exponent", self.to(reached, INT64, f"{step}.count"), self.number(1), keepdims=0
        )
        # a number in [2^k, 2^(k+1)) is a multiple of 2^(k-23)
        units = np.exp2([MANTISSA_BITS - exponent for exponent in (MIN_EXPONENT - 1, *exponents)])
        unit = self._build.constant("preprocess.float32.units", units.astype(np.float32))
        unit = self.op("Gather", f"{step}.unit", unit, index, axis=0)
        whole = self.op("Round", f"{step}.rounded", self.op("Mul", f"{step}.units", value, unit))
        return self.op("Div", f"{step}.float32", whole, unit)

    def _indices(self, low: ir.Value, window: Window) -> tuple[ir.Value, ir.Value]:
        """Return the indices of the pixels at `low` and after it, moved to the edges."""
        last = self.op("Sub", "last", window.size, self.number(1))
        high = self.op("Add", "high", low, self.number(1))
        zero = self.number(0)
        first = self.op("Max", "low.index", self.op("Min", "low.limited", low, last), zero)
        return first, self.op("Max", "high.index", self.op("Min", "high.limited", high, last), zero)

    def _equal(self, a: ir.Value, b: ir.Value, step: str) -> ir.Value:
        return self.to(self.op("Equal", step, a, b), FLOAT, f"{step}.float")

    def op(self, operator: str, step: str, *inputs: ir.Value, **attributes: int | list[int]) -> ir.Value:
        """Make a node of this axis."""
        return self._build.op(operator, f"{self._name}.{step}", *inputs, **attributes)

    def to(self, value: ir.Value, dtype: ir.DataType, step: str) -> ir.Value:
        """Make a Cast."""
        return self.op("Cast", step, value, to=int(dtype))

    def number(self, value: float, dtype: type[np.generic] = np.int64) -> ir.Value:
        """Return a constant (1,)."""
        return self._build.constant(f"preprocess.{np.dtype(dtype).name}.{value:g}", np.array([value], dtype))

    def _pixels(self, count: int) -> ir.Value:
        return self._build.integers(f"preprocess.pixels.{count}", [*range(count)])
