"""The matrices of Winograd's minimal filtering, built exactly from interpolation points.

A filter of `r` taps slid over a signal gives `m` outputs from `n = m + r - 1` inputs. Done directly that is `m r`
products; with the matrices here it is `n`:

    y = A^T [ (G g) * (B^T d) ]        d (n,) inputs, g (r,) taps, y (m,) outputs, * elementwise

*Where they come from.* Multiplying a polynomial of `m` coefficients by one of `r` (a full convolution) can be done by
evaluating both at `n` different points, multiplying the values, and interpolating (Toom and Cook). Sliding a filter is
the transposed problem, and transposing that algorithm (Tellegen's principle) gives the formula above with

    A^T[i, j] = p_j^i          evaluation of the outputs' side
    G[j, k]   = p_j^k / N_j    evaluation of the taps, with N_j = product over l != j of (p_j - p_l)
    B^T[j, :] = coefficients of the product over l != j of (x - p_l)

for the finite points `p_0 .. p_(n-2)`. For the point at infinity the last column of A^T is the last unit vector, the
last row of G the last unit vector, and the last row of B^T the coefficients of the product over all l of (x - p_l).
Everything is computed in fractions, so the identity holds exactly; only the last step rounds to float64.

*Which points.* The identity is exact for any; rounding is not. Large and small powers in A^T and G, and cancelling
coefficients in B^T, cost accuracy. `python benchmarks/winograd_points.py` compares sets: for four outputs the
textbook's 0, 1, -1, 2, -2 err about twice as much as 0, 2/3, -2/3, 3/2, -3/2, which are symmetric under x -> -x and
x -> 1/x, so that powers grow as slowly on either side. For two outputs, the matrices of 0, 1, -1 have no other
fractions than 1/2.

*Sources*: S. Winograd, *Arithmetic Complexity of Computations* (1980); A. Lavin and S. Gray, *Fast Algorithms for
Convolutional Neural Networks* (CVPR 2016); B. Barabasz et al., *Error Analysis and Improving the Accuracy of Winograd
Convolution for Deep Neural Networks* (ACM TOMS 2020), for the choice of points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

TAPS = 3
"""Of every filter here: 3x3x3 and 1x3x3 convolutions."""

POINTS: dict[int, tuple[Fraction, ...]] = {
    2: (Fraction(0), Fraction(1), Fraction(-1)),
    4: (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2)),
}
"""{outputs of a tile: the finite points}; infinity comes with each."""


@dataclass(frozen=True)
class Transforms:
    """The three matrices of F(m, r), float64.

    Attributes:
        output: A^T, (m, n).
        weight: G, (n, r).
        input: B^T, (n, inputs): square unless some inputs are known to be zero.
    """

    output: Matrix
    weight: Matrix
    input: Matrix

    @property
    def outputs(self) -> int:
        """m, the outputs of a tile."""
        return len(self.output)

    @property
    def points(self) -> int:
        """n, the products of a tile."""
        return len(self.input)

    @property
    def inputs(self) -> int:
        """The inputs of a tile."""
        return self.input.shape[1]


@cache
def transforms(outputs: int) -> Transforms:
    """Return the matrices of F(outputs, 3) at the points of `POINTS`."""
    return cook_toom(outputs, TAPS, POINTS[outputs])


@cache
def two_frame_transforms() -> Transforms:
    """Return the matrices for two outputs from two inputs with zeros before and after, and three taps: three products.

    F(2, 3) takes four products, two of them for the zeros. With `y_0 = g_1 d_0 + g_2 d_1` and `y_1 = g_0 d_0 + g_1 d_1`
    the two inputs are a filter that slides over the three taps, so F(2, 2) is enough: its input and weight matrices are
    exchanged, and its outputs are in reverse order. The points are 0, -1 and infinity: at -1 the inputs are subtracted,
    at 1 they would be added. The difference of two frames after a ReLU is smaller than their sum, as is its rounding
    error.
    """
    exchanged = cook_toom(2, 2, (Fraction(0), Fraction(-1)))
    return Transforms(output=exchanged.output[::-1], weight=exchanged.input, input=exchanged.weight)


def cook_toom(outputs: int, taps: int, points: Sequence[Fraction]) -> Transforms:
    """Build F(outputs, taps) from its finite interpolation points.

    Args:
        outputs: m, of a tile.
        taps: r, of the filter.
        points: m + r - 2 different fractions; the point at infinity is added.

    Raises:
        ValueError: another number of points, or equal ones.
    """
    size = outputs + taps - 1
    if len(points) != size - 1 or len(set(points)) != len(points):
        raise ValueError(
            f"F({outputs},{taps}) takes {size - 1} different finite points (got {', '.join(map(str, points))})"
        )
    at = [[point**power for point in points] + [Fraction(power == outputs - 1)] for power in range(outputs)]
    g: list[list[Fraction]] = []
    bt: list[list[Fraction]] = []
    for point in points:
        others = [other for other in points if other != point]
        scale = Fraction(1)
        for other in others:
            scale *= point - other
        g.append([point**power / scale for power in range(taps)])
        bt.append([*_product(others), Fraction(0)])
    g.append([Fraction(power == taps - 1) for power in range(taps)])
    bt.append(_product(points))
    return Transforms(*(np.array(rows, dtype=np.float64) for rows in (at, g, bt)))


def _product(roots: Sequence[Fraction]) -> list[Fraction]:
    """Return the coefficients of the product of (x - root), the lowest power first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        coefficients = [
            above - root * below for above, below in zip(shifted, [*coefficients, Fraction(0)], strict=True)
        ]
    return coefficients
