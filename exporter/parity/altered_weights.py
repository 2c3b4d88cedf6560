"""Whether a weight in fewer bits is one of the reference's, changed by more than its rounding.

A weight that is no rounding of the reference's may have been transformed before it was rounded; then the reference
holds none like it, and what its rounding does is measured (`moved_weights`). One that is like the reference's in nearly
all of its numbers was changed: a layer scaled by 1 %, small weights removed, a channel missing. Its rounding allows
nothing. These ways to quantise also change a weight, but not the function beyond rounding, and are excused:

- each number goes to one of the two levels beside it, not always to the nearer one (AdaRound);
- each channel has a factor of its own, which a layer beside it undoes (batch normalisation that this tool cannot fold,
  equalisation of channels);
- half precision is the product of two rounded numbers, off by up to two units in the last place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.onnx_io.rounded_weights import RoundedWeight

Array = NDArray[Any]
Term = Callable[[Array, Array, Array], Array]

MIN_SIZE, MIN_AXES = 64, 2
"""Fewer numbers, or a vector of positive ones, are like others by chance."""
RESEMBLES = 0.9
"""The cosine from which a weight is like another: 12 times the square root of the rounding of int8, or a fifth of its
energy changed."""
OTHERWISE = (0.75, 1.0)
"""Rounding that is not to the nearest is off by up to a level, and by nearly as much somewhere."""
MAX_SHIFT = 0.1
"""How far such levels may be off in the mean."""
SLOPE_ERRORS = 6
"""Standard errors by which such rounding may make a weight, or one of its channels, larger or smaller as a whole."""
OWN_FACTOR = 0.02
"""How far factors of channels are from each other, relative to their median, where each has its own."""
ROUNDING = 1.5
"""How large what factors leave may be, in root mean squares of rounding."""
UNITS = 2.5
"""Units in the last place by which a rounded product of rounded numbers may be off."""
CHUNK = 1 << 20
"""Numbers that are looked at at a time."""
HALVES = {"float16": (2.0**-10, 2.0**-24), "bfloat16": (2.0**-7, 2.0**-133)}
"""{type: the largest unit in the last place, relative to a number, and the smallest}."""


def is_altered(weight: RoundedWeight, candidates: Sequence[Array]) -> bool:
    """Return whether a weight, which is no rounding of the candidates, is one of them changed by more than rounding.

    Args:
        weight: the artifact's; levels have a scale.
        candidates: the reference's weights of that size, in the weight's shape.
    """
    if weight.values.size < MIN_SIZE or weight.values.ndim < MIN_AXES or not candidates:
        return False
    pairs = [_Pair(weight, candidate) for candidate in candidates]
    cosines = [pair.cosine for pair in pairs]
    best = int(np.argmax(cosines))
    return cosines[best] >= RESEMBLES and not (_rounds_otherwise(pairs[best]) or _has_own_factors(pairs[best]))


def split_rows(weight: RoundedWeight, original: Array) -> Iterator[tuple[RoundedWeight, Array]]:
    """Yield a weight and numbers of its shape in parts: the first row, and then as many as hold `CHUNK` numbers.

    Scale, its error and zero point of the parts have the shape of their values.
    """
    rows, shape = max(1, CHUNK // max(1, original[0].size)), weight.values.shape
    named = ((name, getattr(weight, name)) for name in ("scale", "zero_point", "scale_error"))
    fields = {name: np.broadcast_to(numbers, shape) for name, numbers in named if numbers is not None}
    for start in (0, *range(1, len(original), rows)):
        part = slice(start, start + rows if start else 1)
        found = replace(weight, values=weight.values[part], **{name: each[part] for name, each in fields.items()})
        yield found, original[part]


@dataclass(frozen=True)
class _Pair:
    """A weight and one of the reference's, of which a million numbers are looked at at a time."""

    weight: RoundedWeight
    original: Array

    def parts(self) -> Iterator[tuple[Array, Array, Array]]:
        """Yield what some rows stand for, the reference's numbers, and a level or the largest unit of each number."""
        for weight, original in split_rows(self.weight, self.original):
            real, numbers = weight.values.astype(np.float64), original.astype(np.float64)
            if weight.scale is None:
                relative, smallest = HALVES[weight.values.dtype.name]
                yield real, numbers, np.maximum(np.abs(numbers) * relative, smallest)
                continue
            if weight.zero_point is not None:
                real -= weight.zero_point
            yield real * weight.scale, numbers, np.maximum(weight.scale, np.finfo(np.float32).tiny)

    def sums(self, axes: Sequence[int | None], *terms: Term) -> Iterator[list[Array]]:
        """Yield the sums of terms over all axes but one, for each of some axes; over all for None. Axes are kept.

        Args:
            axes: those that are not summed over.
            terms: from what `parts` yields to numbers of that shape.
        """
        found: dict[tuple[int | None, int], list[Array]] = {}
        for part in self.parts():
            for number, term in enumerate(terms):
                values = term(*part)
                for axis in dict.fromkeys(axes):
                    others = tuple(other for other in range(values.ndim) if other != axis)
                    total, sums = values.sum(others, keepdims=True), found.setdefault((axis, number), [])
                    if axis == 0 or not sums:
                        sums.append(total)
                    else:
                        sums[0] += total
        for axis in axes:
            yield [np.concatenate(found[axis, number]) for number in range(len(terms))]

    @property
    def cosine(self) -> float:
        ((product, own, others),) = self.sums(
            (None,), lambda r, n, _: r * n, lambda r, *_: r * r, lambda _, n, __: n * n
        )
        norms = float(np.sqrt(own.item()) * np.sqrt(others.item()))
        return product.item() / norms if norms else 0.0


def _rounds_otherwise(pair: _Pair) -> bool:
    if pair.weight.is_float:
        near = all(bool((np.abs(real - numbers) <= UNITS * unit).all()) for real, numbers, unit in pair.parts())
        return near and not _is_scaled(pair, None)
    low, high = OTHERWISE
    largest = max(float((np.abs(real - numbers) / unit).max()) for real, numbers, unit in pair.parts())
    ((shift,),) = pair.sums((None,), _off)
    if not low <= largest <= high or abs(shift.item() / pair.original.size) > MAX_SHIFT:
        return False
    return not _is_scaled(pair, None, 0, pair.original.ndim - 1)


def _off(real: Array, numbers: Array, unit: Array) -> Array:
    return (real - numbers) / unit


def _is_scaled(pair: _Pair, *axes: int | None) -> bool:
    """Return whether a weight, or a slice along an axis, is larger or smaller than random rounding makes it."""
    terms: tuple[Term, ...] = (
        lambda _, numbers, unit: np.square(numbers / unit),
        lambda real, numbers, unit: numbers / unit * _off(real, numbers, unit),
        lambda real, numbers, unit: np.square(_off(real, numbers, unit)),
    )
    for squares, products, errors in pair.sums(axes, *terms):
        sizes = np.where(squares > 0, squares, 1)
        slice_size = pair.original.size / squares.size
        if bool((np.abs(products / sizes) > SLOPE_ERRORS * np.sqrt(errors / slice_size / sizes)).any()):
            return True
    return False


def _has_own_factors(pair: _Pair) -> bool:
    """Return whether most channels, of the outputs or the inputs, are the reference's times a factor of their own."""
    axes, size = (0, 1, pair.original.ndim - 1), pair.original.size
    ((units,),) = pair.sums((None,), lambda _, __, unit: np.square(unit))
    rounding = units.item() / size / 12
    found = pair.sums(axes, lambda _, numbers, __: np.square(numbers), lambda real, numbers, _: real * numbers)
    for axis, (squares, products) in zip(axes, found, strict=True):
        factors = products / np.where(squares > 0, squares, 1)
        middle = float(np.median(factors))
        own = np.abs(factors - middle) > OWN_FACTOR * abs(middle)
        if own.mean() > 0.5 and _square_error(pair, factors, axis) / size <= ROUNDING**2 * rounding:
            return True
    return False


def _square_error(pair: _Pair, factors: Array, axis: int) -> float:
    """Return the sum of squares of what the reference's numbers times the factors of channels leave."""
    total, start = 0.0, 0
    for real, numbers, _ in pair.parts():
        part = factors[start : start + len(real)] if axis == 0 else factors
        total += float(np.square(real - part * numbers).sum())
        start += len(real)
    return total
