"""Operators that pick, repeat or reorder elements, and those that return integers."""

from __future__ import annotations

import numpy as np

from helpers.random_graphs.graph import NotApplicableError, RandomGraph
from helpers.random_graphs.layers import is_image


def gather(g: RandomGraph) -> None:
    """Gather with constant indices, some of them negative or twice, or one that removes the axis."""
    x = g.value(lambda x: x.ndim >= 2)
    axis = g.number(1, len(g.shape(x)) - 1)
    size = g.shape(x)[axis]
    low = -size if g.opset >= 11 else 0
    indices = np.array([g.number(low, size - 1) for _ in range(g.number(1, 4))])
    if g.chance(0.3):
        indices = np.array(indices[0])
    g.op("Gather", [x, g.initializer(indices)], axis=axis if g.chance(0.7) else axis - len(g.shape(x)))


def repeat(g: RandomGraph) -> None:
    """Tile or Expand of an axis that is not the batch."""
    x = g.value(lambda x: x.ndim >= 2)
    shape = g.shape(x)
    axis = g.number(1, len(shape) - 1)
    times = [1 + (place == axis) * g.number(0, 2) for place in range(len(shape))]
    if shape[axis] == 1 and g.opset >= 8 and g.chance(0.5):
        g.op("Expand", [x, g.integers(*times)])
    else:
        g.op("Tile", [x, g.integers(*times)])


def blocks(g: RandomGraph) -> None:
    """DepthToSpace or SpaceToDepth."""
    x = g.value(lambda x: x.ndim == 4)
    _, channels, height, width = g.shape(x)
    if channels % 4 == 0:
        mode = {"mode": g.pick(("DCR", "CRD"))} if g.opset >= 11 and g.chance(0.6) else {}
        g.op("DepthToSpace", [x], blocksize=2, **mode)
    elif height % 2 == 0 and width % 2 == 0:
        g.op("SpaceToDepth", [x], blocksize=2)
    else:
        raise NotApplicableError("no blocks of two")


def where(g: RandomGraph) -> None:
    """Where between a value and a weight, on a comparison with a number."""
    if g.opset < 9:
        raise NotApplicableError("Where came with opset 9")
    x = g.value()
    asked = g.op(g.pick(("Greater", "Less")), [x, g.weight(np.array(0.25, np.float32), plain=True)])
    other = g.weight(g.rng.standard_normal(g.shape(x)[-1:]).astype(np.float32))
    g.op("Where", [asked, *([x, other] if g.chance(0.5) else [other, x])])


def labels(g: RandomGraph) -> None:
    """ArgMax or ArgMin, or TopK with values and indices."""
    x = g.value(lambda x: x.ndim >= 2 and max(x.shape[1:]) > 2)
    axis = int(np.argmax(g.shape(x)[1:])) + 1
    if g.chance(0.6) or g.opset < 10:
        g.op(g.pick(("ArgMax", "ArgMin")), [x], axis=axis, keepdims=g.number(0, 1))
    else:
        g.op("TopK", [x, g.integers(2)], 2, axis=axis)


def accumulate(g: RandomGraph) -> None:
    """CumSum along an axis that is not the batch."""
    if g.opset < 11:
        raise NotApplicableError("CumSum came with opset 11")
    x = g.value(lambda x: x.ndim >= 2)
    axis = g.initializer(np.array(g.number(1, len(g.shape(x)) - 1)))
    g.op("CumSum", [x, axis], exclusive=g.number(0, 1), reverse=g.number(0, 1))


def local_norm(g: RandomGraph) -> None:
    """LRN, LpNormalization or MeanVarianceNormalization."""
    x = g.value(is_image)
    operator = g.pick(("LRN", "LpNormalization", "MeanVarianceNormalization"))
    if operator == "LRN":
        g.op("LRN", [x], size=g.pick((3, 5)), alpha=0.01)
    elif operator == "LpNormalization":
        g.op("LpNormalization", [x], axis=1, p=g.number(1, 2))
    elif g.opset >= 9 and int(np.prod(g.shape(x)[2:])) > 3:
        g.op("MeanVarianceNormalization", [x], axes=[*range(2, len(g.shape(x)))])
    else:
        raise NotApplicableError("too few numbers")


INDEXING = (gather, gather, repeat, blocks, where, labels, accumulate, local_norm)
"""Functions that add such an operator; some more often than others."""
