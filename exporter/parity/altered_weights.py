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

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.onnx_io.rounded_weights import RoundedWeight

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

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
    real = _real(weight)
    cosines = [_cosine(real, candidate) for candidate in candidates]
    best = int(np.argmax(cosines))
    if cosines[best] < RESEMBLES:
        return False
    original = candidates[best].astype(np.float64)
    unit = _unit(weight, original)
    return not (_rounds_otherwise(weight, real, original, unit) or _has_own_factors(real, original, unit))


def _real(weight: RoundedWeight) -> Array:
    values = weight.values.astype(np.float64)
    if weight.is_float:
        return values
    assert weight.scale is not None
    zeros = 0 if weight.zero_point is None else weight.zero_point.astype(np.float64)
    return (values - zeros) * weight.scale


def _cosine(real: Array, candidate: Array) -> float:
    norms = float(np.linalg.norm(real)) * float(np.linalg.norm(candidate))
    return float(np.vdot(real, candidate)) / norms if norms else 0.0


def _unit(weight: RoundedWeight, original: Array) -> Array:
    """Return a level, or the largest unit in the last place of each number."""
    if weight.scale is not None:
        return np.maximum(np.broadcast_to(weight.scale, original.shape), np.finfo(np.float32).tiny)
    relative, smallest = HALVES[weight.values.dtype.name]
    return np.maximum(np.abs(original) * relative, smallest)


def _rounds_otherwise(weight: RoundedWeight, real: Array, original: Array, unit: Array) -> bool:
    if weight.is_float:
        return bool((np.abs(real - original) <= UNITS * unit).all()) and not _is_scaled(real, original, unit, None)
    off = (real - original) / unit
    low, high = OTHERWISE
    if not low <= float(np.abs(off).max()) <= high or abs(float(off.mean())) > MAX_SHIFT:
        return False
    return not _is_scaled(real, original, unit, None, 0, real.ndim - 1)


def _is_scaled(real: Array, original: Array, unit: Array, *slices: int | None) -> bool:
    """Return whether a weight, or a slice along an axis, is larger or smaller than random rounding makes it."""
    numbers, off = original / unit, (real - original) / unit
    for kept in slices:
        others = tuple(axis for axis in range(real.ndim) if axis != kept)
        squares = np.square(numbers).sum(others)
        slopes = (numbers * off).sum(others) / np.where(squares > 0, squares, 1)
        errors = np.sqrt(np.square(off).mean(others) / np.where(squares > 0, squares, 1))
        if bool((np.abs(slopes) > SLOPE_ERRORS * errors).any()):
            return True
    return False


def _has_own_factors(real: Array, original: Array, unit: Array) -> bool:
    """Return whether most channels, of the outputs or the inputs, are the reference's times a factor of their own."""
    for axis in (0, 1, real.ndim - 1):
        others = tuple({*range(real.ndim)} - {axis})
        squares = np.square(original).sum(others, keepdims=True)
        factors = (real * original).sum(others, keepdims=True) / np.where(squares > 0, squares, 1)
        middle = float(np.median(factors))
        own = np.abs(factors - middle) > OWN_FACTOR * abs(middle)
        rounding = np.square(unit).mean() / 12
        if own.mean() > 0.5 and np.square(real - factors * original).mean() <= ROUNDING**2 * rounding:
            return True
    return False
