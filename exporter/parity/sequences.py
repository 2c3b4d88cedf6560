"""Sequences and optional values: each item of an input is drawn, and each item of an output is compared by itself.

An input `x` of the type `seq(float32)` is drawn as the inputs `x[0]` and `x[1]`; an optional one always has a value.
An output `y` becomes an array with an item in each row, and a second output with the items' shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.types import UNKNOWN_RANK
from models.specs import Signature, TensorSpec

Array = NDArray[Any]

ITEMS = 2
"""Items of a sequence that is drawn: an index of 1 is valid, and items that are swapped show."""
SHAPES_SUFFIX = " (shapes)"
"""Ends the name of the output that holds the shapes of a sequence's items."""
NO_ITEMS = np.zeros((0, 0, 1), np.float32)
"""The items of an optional output without a value."""
_NESTED = re.compile(r"(seq|optional)\((.*)\)")


def item_dtype(dtype: str) -> str:
    """Return the element type of `seq(float32)` and `optional(seq(float32))`, and of a tensor."""
    found = _NESTED.fullmatch(dtype)
    return item_dtype(found[2]) if found else dtype


def is_nested(dtype: str) -> bool:
    """Return whether a type is a sequence or optional."""
    return _NESTED.fullmatch(dtype) is not None


def item_specs(value: TensorSpec) -> tuple[TensorSpec, ...]:
    """Return the tensors that an input consists of; of a tensor itself, and of a sequence of sequences none but it.

    The shape of items is what the type states; where it does not state their rank, they are vectors.
    """
    found = _NESTED.fullmatch(value.dtype)
    if found is None:
        return (value,)
    shape = ("?",) if UNKNOWN_RANK in value.shape else value.shape
    inner = replace(value, dtype=found[2], shape=shape)
    if found[1] == "optional":
        return item_specs(inner)
    if is_nested(inner.dtype):
        return (value,)
    return tuple(replace(inner, name=f"{value.name}[{number}]") for number in range(ITEMS))


def with_items(signature: Signature) -> Signature:
    """Return a signature whose inputs are the tensors that `item_specs` lists."""
    return replace(signature, inputs=tuple(item for value in signature.inputs for item in item_specs(value)))


def find_sequences(signature: Signature) -> dict[str, tuple[str, ...]]:
    """Return {input: the inputs that its items are drawn as}, of the inputs that are sequences."""
    found = {value.name: tuple(item.name for item in item_specs(value)) for value in signature.inputs}
    return {name: items for name, items in found.items() if items != (name,)}


def pack(feeds: Mapping[str, Array], sequences: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return feeds with the items of each sequence in a list."""
    items = {item for names in sequences.values() for item in names}
    packed: dict[str, Any] = {name: array for name, array in feeds.items() if name not in items}
    return packed | {name: [feeds[item] for item in names] for name, names in sequences.items()}


def unpack(name: str, value: Array | Sequence[Array] | None) -> dict[str, Array]:
    """Return an output as arrays whose first axis is over items.

    Args:
        name: the output's name.
        value: an array, which is one item; the items of a sequence; None for an optional value that is absent.

    Returns:
        `name` with (items, numbers of the largest item, 1), filled up with NaN, 0 or empty text. Of what is no array
        also the shapes, as (1, …) integers: the number of items, or -1 without a value, and each item's rank and sizes.
    """
    if isinstance(value, np.ndarray):
        return {name: np.array(value)[np.newaxis]}
    items = [] if value is None else list(value)
    counts = [-1 if value is None else len(items), *(size for item in items for size in (item.ndim, *item.shape))]
    shapes = np.array([counts], np.int64)
    if not items:
        return {name: NO_ITEMS, name + SHAPES_SUFFIX: shapes}
    dtype = np.result_type(*items)
    filler = np.nan if dtype.kind in "fc" or "float" in dtype.name else "" if dtype.kind in "OUS" else 0
    stacked = np.full((len(items), max(item.size for item in items), 1), filler, dtype)
    for row, item in zip(stacked, items, strict=True):
        row[: item.size, 0] = item.reshape(-1)
    return {name: stacked, name + SHAPES_SUFFIX: shapes}
