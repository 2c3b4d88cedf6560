"""Generators of synthetic inputs, by input type and dtype. docs/reference/parity.md says what each one finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import UsageError
from exporter.types import ValueRange

Floats = NDArray[np.float32]
Generate = Callable[[np.random.Generator, tuple[int, ...]], Floats]

LARGE = 1e20
"""Far above any pixel, and far enough below float32's maximum that no layer overflows."""
DENORMAL = 1e-40
"""Below the smallest normal float32 (1.2e-38): engines may flush such numbers to zero, but must not fail on them."""
SPARSE_DENSITY = 0.01


def _normal(random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return random.standard_normal(shape, dtype=np.float32)


def _sparse(random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return _normal(random, shape) * (random.random(shape, dtype=np.float32) < SPARSE_DENSITY) * np.float32(100)


def _impulse(value: float) -> Generate:
    """Return a generator of zeros with one number somewhere inside."""

    def generate(random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        values = np.zeros(shape, np.float32)
        if values.size:
            values[tuple(int(random.integers(0, size)) for size in shape)] = value
        return values

    return generate


RANDOM: dict[str, Generate] = {
    "random": _normal,
    "uniform": lambda random, shape: random.uniform(-1, 1, shape).astype(np.float32),
    "heavy-tailed": lambda random, shape: random.standard_t(3, shape).astype(np.float32) * np.float32(30),
    "sparse": _sparse,
    "saturated": lambda random, shape: random.integers(0, 2, shape).astype(np.float32) * 255,
    "impulse": _impulse(255),
    "large": lambda random, shape: _normal(random, shape) * np.float32(LARGE),
    "denormal": lambda random, shape: _normal(random, shape) * np.float32(DENORMAL),
    "nan": _impulse(np.nan),
}
"""Input types that are generated once for each of `--samples`."""
CONSTANT: dict[str, float] = {"zeros": 0.0, "constant": 127.0}
"""Input types that hold one value."""
VIDEO = ("pixels", "video")
"""Input types of networks that take video: noise of every pixel value, and the real clip of the package."""

TIES = "ties"
"""The input type of models that take decoded frames only (`exporter.parity.frame_inputs`)."""

INPUT_TYPES = (*RANDOM, *CONSTANT, *VIDEO, TIES)
EDGE_CASES = ("large", "denormal", "nan")
"""Input types for full float32 only."""
ENDS = ("saturated", *CONSTANT)
"""Input types that take the ends of a range."""
WIDE = "uniform"
"""The input type for which integers that are only calculated with are drawn from a wider range."""
DISCRETE = ("random", *ENDS)
"""Input types that differ where no input is floating-point."""

RANGES: dict[str, ValueRange] = {
    "bool": ValueRange(0, 1),
    "uint8": ValueRange(0, 255),
    "int8": ValueRange(-128, 127),
    "uint4": ValueRange(0, 15),
    "int4": ValueRange(-8, 7),
    "uint2": ValueRange(0, 3),
    "int2": ValueRange(-2, 1),
}
"""Values drawn for an input of these dtypes: all that they have."""
INDEX_RANGE = ValueRange(0, 9)
"""Values drawn for inputs of wider integers and strings: such an input is mostly an index or a label."""

MAX_COVERING = 16
"""No more inputs are added so that every integer of a range occurs."""


def is_float(dtype: str) -> bool:
    """Return whether a dtype holds floating-point numbers (`float32`, `bfloat16`, `float8e5m2`) or complex ones."""
    return dtype.startswith(("float", "bfloat", "complex"))


def select_input_types(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the input types asked for; all for None.

    Raises:
        UsageError: an unknown input type.
    """
    if unknown := [name for name in names or () if name not in INPUT_TYPES]:
        known = ", ".join(INPUT_TYPES)
        raise UsageError(f"--inputs {', '.join(unknown)}: unknown input type; choose all, quick, or from {known}")
    return INPUT_TYPES if names is None else tuple(names)


def generate(
    random: np.random.Generator,
    shape: tuple[int, ...],
    input_types: Sequence[str],
    samples: int,
    dtype: str = "float32",
    values: ValueRange | None = None,
    wide: ValueRange | None = None,
) -> list[tuple[str, NDArray[Any]]]:
    """Generate an input once for each input type: `samples` of each random type.

    Args:
        random: the source of random numbers.
        shape: of the input.
        input_types: which of `RANDOM` and `CONSTANT`.
        samples: draws of each random type.
        dtype: of the input. Floating-point numbers of every width are drawn in float32.
        values: draws from these instead of from the input type's or dtype's own.
        wide: for integers, what `WIDE` and the types of `ENDS` take instead.

    Returns:
        (input type, values of `shape`) in the order of the tables.
    """
    names = [name for name in RANDOM if name in input_types for _ in range(samples)]
    names += [name for name in CONSTANT if name in input_types]
    if is_float(dtype) and values is None:
        return [(name, _generate_float(random, shape, name)) for name in names]
    drawn_from = values or RANGES.get(dtype, INDEX_RANGE)
    other = wide or drawn_from
    narrow = [name for name in names if name not in ENDS and not (wide and name == WIDE)]
    draws = iter(_draw(random, (len(narrow), *shape), drawn_from, dtype))
    far = iter(_draw(random, (names.count(WIDE), *shape), other, dtype))
    made = [
        _end(random, shape, name, other) if name in ENDS else next(far if wide and name == WIDE else draws)
        for name in names
    ]
    return [(name, _as_dtype(drawn, dtype)) for name, drawn in zip(names, made, strict=True)]


def covering_samples(shape: tuple[int, ...], dtype: str, values: ValueRange | None = None) -> int:
    """Return how many `random` inputs hold every integer that is drawn for an input, `MAX_COVERING` at most."""
    drawn_from = values or RANGES.get(dtype, INDEX_RANGE)
    count = int(drawn_from.high) - int(drawn_from.low) + 1
    return min(MAX_COVERING, -(-count // max(1, prod(shape))))


def _generate_float(random: np.random.Generator, shape: tuple[int, ...], name: str) -> NDArray[Any]:
    if name in CONSTANT:
        return np.full(shape, CONSTANT[name], np.float32)
    return np.asarray(RANDOM[name](random, shape), np.float32)


def _end(random: np.random.Generator, shape: tuple[int, ...], name: str, values: ValueRange) -> NDArray[Any]:
    """Return both ends of a range for `saturated`, its value next to zero for `zeros`, its last for `constant`."""
    if name == "saturated":
        return np.where(random.integers(0, 2, shape, dtype=np.int64) == 1, values.high, values.low)
    return np.full(shape, min(max(0, values.low), values.high) if name == "zeros" else values.high)


def _draw(random: np.random.Generator, shape: tuple[int, ...], values: ValueRange, dtype: str) -> NDArray[Any]:
    """Draw from a range; integers so that all of them occur, and equally often, where there is room for all."""
    if is_float(dtype):
        return random.uniform(values.low, values.high, shape)
    low, count = int(values.low), int(values.high) - int(values.low) + 1
    if count > prod(shape):
        return random.integers(low, int(values.high), shape, dtype=np.int64, endpoint=True)
    return random.permutation(np.arange(prod(shape)) % count + low).reshape(shape)


def _as_dtype(made: NDArray[Any], dtype: str) -> NDArray[Any]:
    if dtype == "string":
        return np.asarray(made).astype(str).astype(object)
    return np.asarray(made, np.float32 if is_float(dtype) else np.int64)
