"""The weights of the reference that an artifact's weights in fewer bits are roundings of.

A weight is found by its numbers, not by its name: one of the reference of the same size, each number of which is within
half a unit in the last place, or half a level, of the artifact's. Rounding to the nearest explains exactly that, so the
artifact may be evaluated with the reference's numbers in its place. What was transformed before it was rounded (a batch
normalisation folded into it, Winograd's transforms) is not found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.rounded_weights import RoundedWeight
from exporter.onnx_io.weights import take_weights
from exporter.parity.sources import FileSource, GoldenSource, NetworkSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

HALF = 0.5 + 2.0**-10
"""Half a unit, with room for a weight that was divided by its scale in float32."""
LEVEL_ERROR = 2.0**-22
"""How far levels may be off beside that, relative to themselves: a bias in int32 has millions of them."""
MIN_FLOAT16 = 1e-7
"""Converters write this number in place of smaller ones."""
DIGITS: Mapping[str, tuple[int, int]] = {"float16": (11, -24), "bfloat16": (8, -133)}
"""{type: its significant bits, the exponent of its smallest number}."""
CHUNK = 1 << 20
"""Numbers that are compared at a time."""
MIN_LEVEL = 16
"""The largest level of a slice that shares a scale: a scale so coarse that there is none would round anything to 0."""
MIN_SIZE = 2
"""A single number is within half a unit of others by chance."""
STACKED_FRAMES = (0, 2, 1, 3, 4)
"""The order of the axes of a 3-D convolution's weight whose frames are stacked as channels of a 2-D one."""


def read_originals(source: GoldenSource) -> dict[int, list[Array]]:
    """Return {size: the floating-point weights of that size} of a reference."""
    found: dict[int, list[Array]] = {}
    for values in _weights(source):
        if values.dtype.kind == "f" and values.dtype.itemsize > 2:
            found.setdefault(values.size, []).append(values)
    return found


def _weights(source: GoldenSource) -> Iterator[Array]:
    if isinstance(source, NetworkSource):
        for tensor in source.model.network.state_dict().values():
            if tensor.is_floating_point():
                yield tensor.detach().numpy()
    elif isinstance(source, FileSource) and source.format == "onnx":
        yield from (values for _, values in take_weights(load_without_weights(source.path), Path(source.path)))


def find_original(weight: RoundedWeight, originals: Mapping[int, Sequence[Array]]) -> Array | None:
    """Return the numbers that a weight is a rounding of, in its shape and unit; None where none or several are.

    Args:
        weight: the artifact's.
        originals: {size: the reference's}.
    """
    values = weight.values
    if values.size < MIN_SIZE or not (weight.is_float or weight.scale is not None):
        return None
    found: Array | None = None
    for original in originals.get(values.size, ()):
        for candidate in _layouts(original, values.shape):
            if not _is_rounding(weight, candidate):
                continue
            if found is not None and not np.array_equal(found, candidate):
                return None
            found = candidate
            break
    return found if found is None or weight.is_float else _levels(weight, found, slice(None))


def _layouts(original: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """Yield a weight in the orders of its axes that an exporter may choose, in a shape."""
    yield original.reshape(shape)
    if original.ndim == 2:
        yield original.T.reshape(shape)
    if original.ndim == len(STACKED_FRAMES):
        yield original.transpose(STACKED_FRAMES).reshape(shape)


def _is_rounding(weight: RoundedWeight, original: Array) -> bool:
    if not weight.is_float and weight.free_scale and not _uses_levels(weight, original):
        return False
    rows = max(1, CHUNK // max(1, original[0].size))
    starts = [0, *range(1, len(original), rows)]
    return all(
        _rounds(weight, original, slice(start, end)) for start, end in zip(starts, [*starts[1:], None], strict=True)
    )


def _uses_levels(weight: RoundedWeight, original: Array) -> bool:
    """Return whether the scale of each slice is that of its numbers: it has a large level, or holds zeros only."""
    assert weight.scale is not None
    zeros = 0 if weight.zero_point is None else weight.zero_point.astype(np.int32)
    sizes = (np.abs(weight.values.astype(np.int32) - zeros), np.abs(original))
    if weight.block:
        starts = np.arange(0, weight.values.shape[weight.axis], weight.block)
        levels, numbers = (np.maximum.reduceat(each, starts, weight.axis) for each in sizes)
    else:
        one = (1,) * (weight.values.ndim - weight.scale.ndim) + weight.scale.shape
        shared = tuple(axis for axis, size in enumerate(one) if size == 1)
        levels, numbers = (each.max(shared) for each in sizes)
    return bool(((levels >= MIN_LEVEL) | (numbers == 0)).all())


def _rounds(weight: RoundedWeight, original: Array, part: slice) -> bool:
    """Return whether some rows of a weight are roundings of the reference's."""
    if not weight.is_float:
        levels = weight.values[part].astype(np.float64)
        allowed = HALF + LEVEL_ERROR * np.abs(levels)
        return bool((np.abs(_levels(weight, original, part) - levels) <= allowed).all())
    values = weight.values[part].astype(np.float64)
    digits, smallest = DIGITS[weight.values.dtype.name]
    units = np.ldexp(1.0, np.maximum(np.frexp(values)[1] - digits, smallest))
    room = np.where(np.abs(values) <= MIN_FLOAT16, MIN_FLOAT16, 0.0)
    return bool((np.abs(original[part] - values) <= np.maximum(HALF * units, room)).all())


def _levels(weight: RoundedWeight, original: Array, part: slice) -> Array:
    """Return rows of the reference's numbers in the unit of a weight's levels, in float64."""
    assert weight.scale is not None
    levels = original[part] / np.broadcast_to(weight.scale, original.shape)[part]
    return levels if weight.zero_point is None else levels + np.broadcast_to(weight.zero_point, original.shape)[part]
