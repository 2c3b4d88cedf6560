"""Shapes, sizes, scales, repeats, pads and lengths: what decides the shape of a node's output."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import isqrt, prod

import numpy as np

from exporter.parity.input_roles.input_use import InputUse, RoleValue, Shape, find_changed

MAX_DIVISOR, MAX_BLOCKS = 1 << 16, 100_000
"""Limits of the search for the block of a Col2Im: a file may state any number of columns."""
MAX_RANK = 64
"""Axes of NumPy's arrays: there is no input for a node of more."""


def reshape(use: InputUse) -> RoleValue:
    """Return a shape of as many elements as the data has."""
    data, target, count = use.input_shape(), use.output_shape, use.count
    if target is not None and count in (None, len(target)) and (data is None or prod(target) == prod(data)):
        return target
    if data is None:
        return None
    if not count:
        return () if count == 0 else data
    return (*data[: count - 1], prod(data[count - 1 :])) if count <= len(data) else (*data, *[1] * (count - len(data)))


def expand(use: InputUse) -> RoleValue:
    """Return a shape that the data can be broadcast to."""
    data, target, count = use.input_shape(), use.output_shape, use.count
    if target is not None and count in (None, len(target)):
        return target
    if data is None or count is None or count < len(data):
        return [1] * (count or 1)  # fits any data
    return (*[1] * (count - len(data)), *data)


def fill_shape(use: InputUse) -> RoleValue:
    """Return the shape of the output, else twos."""
    target = use.output_shape
    return target if target is not None and use.count in (None, len(target)) else [2] * (use.count or 1)


def repeats(use: InputUse) -> RoleValue:
    """Return how often a Tile repeats each axis, else twice."""
    data, target = use.input_shape(), use.output_shape
    if data is None or target is None or len(data) != len(target) or 0 in data:
        return [2] * len(data) if data is not None else None
    return [after // before for before, after in zip(data, target, strict=True)]


def _resized(use: InputUse, count: int | None) -> list[tuple[int, int]] | None:
    """Return (size before, size after) for each resized axis; twice the size where the result is not known."""
    data, target = use.input_shape(), use.output_shape
    if data is None:
        return None
    known = target is not None and len(target) == len(data)
    return [(data[a], target[a] if known and target else 2 * data[a]) for a in use.axes(len(data), count)]


def resized_sizes(use: InputUse) -> RoleValue:
    """Return the sizes of the resized axes."""
    resized = _resized(use, use.count)
    return None if resized is None else [after for _, after in resized]


def scales(use: InputUse) -> RoleValue:
    """Return scales that give the sizes of the result when rounded down, with a margin where the product is inexact."""
    resized = _resized(use, use.count)
    if not resized or any(before == 0 for before, _ in resized):
        return None
    return [
        after / before if float(np.float32(after / before)) * before == after else (after + 0.5) / before
        for before, after in resized
    ]


def region(use: InputUse) -> RoleValue:
    """Return the middle half of every axis as normalised starts and ends."""
    half = (use.count or 0) // 2
    return [0.25] * half + [0.75] * half


def affine_grid(use: InputUse) -> RoleValue:
    """Return (N, C, H, W) or (N, C, D, H, W) of the images that an affine grid is for."""
    theta, grid = use.input_shape(), use.output_shape
    if grid is not None and len(grid) > 3:
        return (grid[0], 1, *grid[1:-1])
    return (theta[0], 1, *range(3, 3 + theta[-2])) if theta is not None else None


def unpooled(use: InputUse) -> Shape | None:
    """Return the output shape of a MaxUnpool, from its attributes where it is not declared."""
    data, target = use.input_shape(), use.output_shape
    if target is not None or data is None:
        return target
    kernel = use.attribute("kernel_shape", [1] * (len(data) - 2))
    strides, pads = use.attribute("strides", [1] * len(kernel)), use.attribute("pads", [0] * 2 * len(kernel))
    sizes = (
        (size - 1) * strides[axis] + kernel[axis] - pads[axis] - pads[axis + len(kernel)]
        for axis, size in enumerate(data[2:])
    )
    return (*data[:2], *sizes)


def pads(use: InputUse) -> RoleValue:
    """Return pads that make the size of the output, else two elements on each axis."""
    data, target = use.input_shape(), use.output_shape
    half = None if use.count is None else use.count // 2
    if data is None:
        return None
    constant = use.constant(3)
    axes = constant if constant is not None else find_changed(use, half) if use.has(3) else [*range(len(data))]
    known = target is not None and len(target) == len(data)
    added = [target[axis] - data[axis] if known and target else 2 for axis in axes]
    return [*(size // 2 for size in added), *(size - size // 2 for size in added)]


def split(use: InputUse) -> RoleValue:
    """Return the sizes of the parts: those of the outputs, else parts of one size with the rest in the last."""
    data = use.input_shape()
    if not data:
        return None
    axis = use.attribute("axis", 0)
    outputs = [use.shapes.get(name) for name in use.node.output]
    if all(outputs) and use.node.op_type == "Split":
        return [shape[axis] for shape in outputs if shape]
    parts = use.count or len(outputs)
    if use.node.op_type == "SplitToSequence" and parts == 1:
        return [max(1, data[axis] // 2)]
    return [data[axis] // parts] * (parts - 1) + [data[axis] - data[axis] // parts * (parts - 1)]


def top_k(use: InputUse) -> RoleValue:
    """Return the number of elements that a TopK keeps, else half."""
    data, target, axis = use.input_shape(), use.output_shape, use.attribute("axis", -1)
    if target:
        return [target[axis]]
    return [max(1, data[axis] // 2)] if data else [1]


def depth(use: InputUse) -> RoleValue:
    """Return the number of classes of a OneHot."""
    target = use.output_shape
    return [target[use.attribute("axis", -1)] if target else 3]


def range_bound(use: InputUse) -> RoleValue:
    """Return start, limit or delta of a Range, by the position."""
    start, delta = (use.constant(0) or [1])[0], (use.constant(2) or [2])[0]
    length = use.output_shape[0] if use.output_shape else 5
    return [(start, start + length * delta, delta)[use.position]]


def length(use: InputUse) -> RoleValue:
    """Return the length of a window."""
    return [use.output_shape[0] if use.output_shape else 8]


def image_shape(use: InputUse) -> RoleValue:
    """Return the size of the image that a Col2Im puts together."""
    image = use.output_shape
    return image[2:] if image is not None and use.count in (None, len(image) - 2) else None


def block_shape(use: InputUse) -> RoleValue:
    """Return a size of blocks with which the columns of a Col2Im, (N, C * size of a block, blocks), fill its image."""
    columns, image = use.input_shape(), use.output_shape
    if columns is None or image is None or len(image) > MAX_RANK or not image[1] or columns[1] % image[1]:
        return None
    rank, elements = len(image) - 2, columns[1] // image[1]
    strides, dilations = use.attribute("strides", [1] * rank), use.attribute("dilations", [1] * rank)
    pads = use.attribute("pads", [0] * 2 * rank)
    padded = [size + pads[axis] + pads[axis + rank] for axis, size in enumerate(image[2:])]
    for block in islice(_factorisations(elements, rank), MAX_BLOCKS):
        spare = [size - d * (b - 1) - 1 for size, d, b in zip(padded, dilations, block, strict=True)]
        blocks = prod(size // stride + 1 for size, stride in zip(spare, strides, strict=True))
        if min(spare) >= 0 and blocks == columns[2]:
            return block
    return None


def _factorisations(number: int, count: int) -> Iterator[tuple[int, ...]]:
    """Yield the tuples of `count` positive integers whose product is the number, in ascending order."""
    small = [size for size in range(1, min(isqrt(number), MAX_DIVISOR) + 1) if number % size == 0]
    divisors = sorted({*small, *(number // size for size in small)})

    def split(rest: int, parts: int) -> Iterator[tuple[int, ...]]:
        if parts == 1:
            yield (rest,)
            return
        for first in divisors:
            if rest % first == 0:
                for others in split(rest // first, parts - 1):
                    yield (first, *others)

    return split(number, count) if number and count else iter(())
