"""Transformed weights: what the emitters store in a file, and how another program finds them there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.passes.winograd.cook_toom import POINTS, TAPS, Transforms, transforms, two_frame_transforms

if TYPE_CHECKING:
    from numpy.typing import NDArray


def space_matrix(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a matrix of one axis for both axes of space, rows before columns."""
    return np.kron(matrix, matrix).astype(np.float64)


def points_matrix(time: Transforms | None, space: Transforms, *, space_first: bool = False) -> NDArray[np.float64]:
    """Return the matrix from the taps of a kernel to the points of a tile, (a s, 27), or (s, 9) without time.

    Args:
        time: the transforms along time; None for a kernel of one frame.
        space: those along rows and columns.
        space_first: the points of space come first, (s a, 27).
    """
    matrix = space_matrix(space.weight)
    if time is None:
        return matrix
    return np.einsum("at,sf->satf" if space_first else "at,sf->astf", time.weight, matrix).reshape(-1, TAPS**3)


def point_weights(
    matrix: NDArray[np.float64], weight: NDArray[Any], parts: int, *, weights_first: bool
) -> NDArray[np.float32]:
    """Return the weights at the points of a tile, (1, p, q, C/q, K), or (1, p, q, K, C/q) if they come first.

    Args:
        matrix: (p, taps), from the taps to the points.
        weight: (K, C, *kernel).
        parts: q, the parts of the input channels.
        weights_first: whether the weights are the left factor of the product.
    """
    outputs, inputs = weight.shape[:2]
    taps = weight.astype(np.float64).reshape(outputs * inputs, -1)
    part = inputs // parts
    sizes = (parts, outputs, part) if weights_first else (parts, part, outputs)
    found = np.empty((1, len(matrix), *sizes), np.float32)
    for point, row in enumerate(matrix):
        values = (taps @ row).reshape(outputs, parts, part)
        found[0, point] = values.transpose((1, 0, 2) if weights_first else (1, 2, 0))
    return found


def frame_weights(time: Transforms, weight: NDArray[Any]) -> NDArray[np.float32]:
    """Return weights (K, C, 3, h, w) whose time alone is transformed, (a K, C, h, w)."""
    _, inputs, _, *kernel = weight.shape
    found = np.einsum("at,kcthw->akchw", time.weight, weight.astype(np.float64))
    return found.reshape(-1, inputs, *kernel).astype(np.float32)


def transformed_weights(weight: NDArray[Any], shape: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    """Yield the weights of a convolution in each of the transformed forms that have a shape.

    Args:
        weight: (K, C, *kernel); others have no form.
        shape: that of the weights in a file.
    """
    if weight.ndim not in (4, 5):
        return
    outputs, inputs, *kernel = weight.shape
    times = [*map(transforms, POINTS), two_frame_transforms()]
    if len(shape) == 4 and len(kernel) == TAPS and kernel[0] == TAPS:
        yield from (
            frame_weights(time, weight) for time in times if shape == (time.points * outputs, inputs, *kernel[1:])
        )
    for weights_first in (False, True) if len(shape) == 5 else ():
        rows, columns = (shape[-1], shape[-2]) if weights_first else shape[-2:]
        if columns != outputs or not rows or inputs % rows:
            continue
        for matrix in _points_matrices(tuple(kernel), times):
            if len(matrix) * outputs * inputs == math.prod(shape):
                yield point_weights(matrix, weight, inputs // rows, weights_first=weights_first).reshape(shape)


def _points_matrices(kernel: tuple[int, ...], times: list[Transforms]) -> Iterator[NDArray[np.float64]]:
    """Yield the matrices from the taps of a kernel to the points of each tile shape, in each order of the points."""
    if kernel[-2:] != (TAPS, TAPS):
        return
    for space in map(transforms, POINTS):
        if kernel == (TAPS, TAPS, TAPS):
            for time in times:
                yield points_matrix(time, space)
                yield points_matrix(time, space, space_first=True)
        elif math.prod(kernel[:-2]) == 1:
            yield points_matrix(None, space)
