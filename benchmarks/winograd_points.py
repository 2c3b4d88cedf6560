"""Which interpolation points round least? Sets of points for Winograd tiles of four outputs, float32 against float64.

A tile of 4x4 outputs of a layer with 256 input channels, inputs as a ReLU leaves them: transforms as onnxruntime
computes them (one matrix for rows and columns), products and sums in float32, weights transformed in float64. Root mean
square of the error, relative to the largest output, and the largest.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

import numpy as np
from measure import machine

from exporter.passes.winograd.cook_toom import POINTS, TAPS, cook_toom

CHANNELS, OUTPUTS, TILES = 256, 16, 48
SIZES = tuple(Fraction(*size) for size in ((1, 2), (3, 5), (2, 3), (3, 4), (1, 1), (4, 3), (3, 2), (5, 3), (2, 1)))
NAMED: dict[str, tuple[Fraction, ...]] = {
    "the textbook's": tuple(map(Fraction, (0, 1, -1, 2, -2))),
    "halves": (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-1, 2)),
    "mixed signs (Barabasz et al.)": (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2)),
    "taken": POINTS[4],
}


def main() -> None:
    """Print the named sets, and the best of all symmetric ones."""
    print(machine())
    for name, points in NAMED.items():
        print(f"{name:32s} {shown(points):28s} rms {errors(points)[0]:.1e}  largest {errors(points)[1]:.1e}")
    sets = [(Fraction(0), a, -a, b, -b) for a, b in combinations(SIZES, 2)]
    for rms, points in sorted((errors(points)[0], points) for points in sets)[:5]:
        print(f"{'of all symmetric sets':32s} {shown(points):28s} rms {rms:.1e}")


def errors(points: Sequence[Fraction]) -> tuple[float, float]:
    """Return the error of a set of points: root mean square and largest, relative to the largest output."""
    generator = np.random.default_rng(0)
    taps = generator.standard_normal((OUTPUTS, CHANNELS, TAPS, TAPS)).astype(np.float32)
    size = 4 + TAPS - 1
    x = np.maximum(generator.standard_normal((CHANNELS, TILES, size, size), dtype=np.float32), 0)
    exact = sum(
        np.einsum("kc,cpij->kpij", taps[:, :, i, j].astype(float), x[:, :, i : i + 4, j : j + 4].astype(float))
        for i in range(TAPS)
        for j in range(TAPS)
    )
    made = cook_toom(4, TAPS, points)
    forth, back = (np.kron(matrix, matrix).astype(np.float32) for matrix in (made.input, made.output))
    weights = np.einsum("ai,bj,kcij->abkc", made.weight, made.weight, taps.astype(float)).astype(np.float32)
    cut = (forth @ x.transpose(2, 3, 0, 1).reshape(size * size, -1)).reshape(size * size, CHANNELS, TILES)
    product = np.matmul(weights.reshape(size * size, OUTPUTS, CHANNELS), cut)
    actual = (back @ product.reshape(size * size, -1)).reshape(4, 4, OUTPUTS, TILES).transpose(2, 3, 0, 1)
    error = actual - exact
    scale = np.abs(exact).max()
    return float(np.sqrt(np.mean(error**2)) / scale), float(np.abs(error).max() / scale)


def shown(points: Sequence[Fraction]) -> str:
    """Return points for people: 0, 2/3, -2/3, inf."""
    return ", ".join((*map(str, points), "inf"))


if __name__ == "__main__":
    main()
