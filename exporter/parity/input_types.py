"""Generators of synthetic inputs, by input type. docs/reference/parity.md says what each one finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from exporter.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

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

INPUT_TYPES = (*RANDOM, *CONSTANT, *VIDEO)
EDGE_CASES = ("large", "denormal", "nan")
"""Input types for full float32 only."""


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
    random: np.random.Generator, shape: tuple[int, ...], input_types: Sequence[str], samples: int
) -> list[tuple[str, Floats]]:
    """Return (input type, values of `shape`, float32) in the order of the tables: `samples` of each random type."""
    made = [(name, make(random, shape)) for name, make in RANDOM.items() if name in input_types for _ in range(samples)]
    return made + [(name, np.full(shape, value, np.float32)) for name, value in CONSTANT.items() if name in input_types]
