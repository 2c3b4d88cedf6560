"""Indices, labels, sequence lengths, divisors and shifts: integers with limits."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from exporter.parity.input_roles.input_use import Derive, InputUse, RoleValue
from exporter.parity.input_roles.sizes import unpooled
from exporter.parity.input_types import RANGES, is_float
from exporter.types import ValueRange


def unpool_indices(use: InputUse) -> RoleValue:
    """Distinct positions, because the last one of equal ones is not defined."""
    data = use.input_shape(1)
    given = use.constant(2)
    whole = tuple(given) if given else unpooled(use)
    return None if data is None or whole is None else _spread(prod(data), prod(whole))


def _spread(count: int, limit: int) -> NDArray[np.int64] | None:
    """Return `count` different numbers below `limit`, in ascending order."""
    return (np.arange(count) * limit // max(count, 1)).astype(np.int64) if count <= limit else None


def gathered(use: InputUse) -> RoleValue:
    """Return the range of the indices of a Gather or GatherElements."""
    data = use.input_shape()
    size = data[use.attribute("axis", 0)] if data else 0
    return ValueRange(0, size - 1) if size else None


def gathered_nd(use: InputUse) -> RoleValue:
    """Return the range of indices that fits every axis that a GatherND looks up."""
    data, indices, first = use.input_shape(), use.input_shape(1), use.attribute("batch_dims", 0)
    sizes = data[first : first + indices[-1]] if data and indices else ()
    return ValueRange(0, min(sizes) - 1) if sizes and 0 not in sizes else None


def scattered(use: InputUse) -> RoleValue:
    """Indices that differ along the axis, because the order in which equal ones are written is not defined."""
    data, indices, axis = use.input_shape(), use.input_shape(1), use.attribute("axis", 0)
    if not data or not indices or indices[axis] > data[axis]:
        return None
    line = _spread(indices[axis], data[axis])
    shape = [1] * len(indices)
    shape[axis] = -1
    return None if line is None else np.broadcast_to(line.reshape(shape), indices)


def scattered_nd(use: InputUse) -> RoleValue:
    """Return different positions, in the order of the data, for ScatterND."""
    data, indices = use.input_shape(), use.input_shape(1)
    if not data or not indices or indices[-1] > len(data):
        return None
    sizes = data[: indices[-1]]
    flat = _spread(prod(indices[:-1]), prod(sizes))
    return None if flat is None else np.stack(np.unravel_index(flat, sizes), axis=-1)


def labels(use: InputUse) -> RoleValue:
    """Return the range of the classes of a loss."""
    scores = use.input_shape()
    return ValueRange(0, scores[1] - 1) if scores and len(scores) > 1 else None


def lengths(axis_attribute: str) -> Derive:
    """Return lengths from 1 to the size of an axis of the data: the one that an attribute names, else the first."""

    def derive(use: InputUse) -> RoleValue:
        data = use.input_shape()
        return ValueRange(1, data[use.attribute(axis_attribute, 0)]) if data else None

    return derive


def first_size(use: InputUse) -> RoleValue:
    """Return the range of positions on the first axis of the data."""
    data = use.input_shape()
    return ValueRange(0, data[0] - 1) if data and data[0] else None


def divisor(use: InputUse) -> RoleValue:
    """Return a range of integers without zero; None for a divisor that is a float."""
    if is_float(use.dtype):
        return None
    return ValueRange(1, min(9, int(RANGES[use.dtype].high)) if use.dtype in RANGES else 9)


def shift(use: InputUse) -> RoleValue:
    """Return the range of numbers of bits that an integer can be shifted by."""
    return ValueRange(0, int(use.dtype.lstrip("uint")) - 1)


def key_lengths(use: InputUse) -> RoleValue:
    """Return the range of the number of keys that are not padding, for Attention."""
    keys = use.input_shape(1)
    return ValueRange(1, keys[-2]) if keys and len(keys) > 1 and keys[-2] else None
