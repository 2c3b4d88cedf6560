"""How large is the error of honestly stored weights, in units of what copies with moved weights measure?

`ROUNDING_FACTOR` of `exporter.parity.tolerance` allows six times that. Each network is a function of its seed: one to
four linear layers of random widths, numbers of a random distribution, a random activation. Its weights are rounded to
the nearest float16, bfloat16 or int8 (a scale per output), and copies of it move as `exporter.parity.moved_weights`
moves them. Everything is computed in float64, so that nothing but the rounding differs.

    python benchmarks/rounding_factor.py --count 8000
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from exporter.parity.moved_weights import MANY_RUNS, UNIT, move
from exporter.parity.tolerance import ERROR_FACTOR, MIN_BASELINE_ERROR, ROUNDING_FACTOR

Array = NDArray[Any]
KINDS = ("float16", "bfloat16", "int8")
ACTIVATIONS: tuple[Callable[[Array], Array], ...] = (
    lambda x: np.maximum(x, 0),
    np.tanh,
    lambda x: np.where(x > 0, x, 0.01 * x),
    lambda x: x / (1 + np.exp(-np.clip(x, -60, 60))),
)
DISTRIBUTIONS: tuple[Callable[[np.random.Generator, tuple[int, int]], Array], ...] = (
    lambda rng, shape: rng.standard_normal(shape),
    lambda rng, shape: rng.uniform(-1, 1, shape),
    lambda rng, shape: rng.standard_t(3, shape),
    lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) < 0.2),
    lambda rng, shape: rng.choice([-1.0, -0.3, 0.1, 0.7], shape),
)


@dataclass(frozen=True)
class Stored:
    """A weight in fewer bits, and the scale of each output (1 of floating-point types)."""

    values: Array
    scale: Array

    def real(self) -> Array:
        """Return its numbers in float64."""
        return self.values.astype(np.float64) * self.scale


def store(weight: Array, kind: str) -> Stored:
    """Round a float32 weight (in, out) to the nearest."""
    if kind != "int8":
        dtype = np.dtype(ml_dtypes.bfloat16) if kind == "bfloat16" else np.dtype(np.float16)
        return Stored(weight.astype(dtype), np.ones(1))
    scale = (np.abs(weight).max(0) / np.float32(127)).astype(np.float64)
    scale[scale == 0] = 1
    return Stored(np.rint(weight / scale).astype(np.int8), scale)


def ratio(seed: int) -> float:
    """Return the largest error of one network beyond float32's least budget, divided by what moved copies measure."""
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    widths = rng.choice([1, 2, 3, 5, 8, 17, 40, 100], rng.integers(2, 6))
    draw, activation = rng.choice(len(DISTRIBUTIONS)), ACTIVATIONS[rng.choice(len(ACTIVATIONS))]
    weights = [
        (DISTRIBUTIONS[draw](rng, (a, b)) * np.sqrt(2 / a)).astype(np.float32) for a, b in itertools.pairwise(widths)
    ]
    x = rng.standard_normal((1, widths[0]))
    stored = [store(weight, kind) for weight in weights]

    def run(numbers: Sequence[Array]) -> Array:
        y = x
        for number, weight in enumerate(numbers):
            y = y @ weight if number == 0 else activation(y) @ weight
        return y

    own = run([each.real() for each in stored])
    exact = run([weight.astype(np.float64) for weight in weights])
    error = float(np.abs(own - exact).max()) - ERROR_FACTOR * MIN_BASELINE_ERROR * float(np.abs(exact).max())
    squares = {False: np.zeros(own.shape), True: np.zeros(own.shape)}
    for copy in range(MANY_RUNS):
        moves, equally = np.random.default_rng(copy), copy % 2 == 1
        moved = run([Stored(move(each.values, moves, equally=equally), each.scale).real() for each in stored])
        squares[equally] += np.square(moved - own)
    measured = max(float(np.sqrt(found.max() / (MANY_RUNS / 2))) / UNIT for found in squares.values())
    return max(0.0, error / measured) if measured > 0 else 0.0 if error <= 0 else np.inf


def main() -> None:
    """Print the distribution of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=8000, help="number of networks")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    given = parser.parse_args()
    ratios = np.array([ratio(seed) for seed in range(given.first, given.first + given.count)])
    shares = ", ".join(f"{share:g} %: {np.percentile(ratios, share):.2f}" for share in (50, 90, 99, 99.9))
    print(f"{given.count} networks, {shares}, largest {ratios.max():.2f} (seed {given.first + int(ratios.argmax())})")
    print(f"{int((ratios > ROUNDING_FACTOR).sum())} above the factor of {ROUNDING_FACTOR:g}")


if __name__ == "__main__":
    main()
