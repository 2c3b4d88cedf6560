"""Parts of transformers: LayerNormalization, attention and its projections."""

from __future__ import annotations

import math

import numpy as np

from helpers.random_graphs.graph import NotApplicableError, RandomGraph


def layer_norm(g: RandomGraph) -> None:
    """LayerNormalization over the last axis: the operator, or the nodes that torch writes."""
    x = g.value(lambda x: x.ndim >= 2 and x.shape[-1] > 3)
    width = g.shape(x)[-1]
    scale, bias = (g.weight(g.rng.standard_normal(width).astype(np.float32)) for _ in range(2))
    if g.opset >= 17 and g.chance(0.6):
        g.op("LayerNormalization", [x, scale, *([bias] if g.chance(0.8) else [])], axis=-1)
        return
    mean = _mean(g, x)
    centred = g.op("Sub", [x, mean])
    squared = g.op("Pow", [centred, g.weight(np.array(2, np.float32), plain=True)])
    variance = g.op("Add", [_mean(g, squared), g.weight(np.array(1e-5, np.float32), plain=True)])
    normal = g.op("Div", [centred, g.op("Sqrt", [variance])])
    g.op("Add", [g.op("Mul", [normal, scale]), bias])


def _mean(g: RandomGraph, x: str) -> str:
    if g.opset < 18:
        return g.op("ReduceMean", [x], axes=[-1])
    return g.op("ReduceMean", [x, g.integers(-1)])


def attention(g: RandomGraph) -> None:
    """Attention over a sequence, or over an image's positions, with one or two heads and a residual."""
    x = g.value(lambda x: x.ndim in (3, 4, 5) and x.shape[1] % 2 == 0 and math.prod(x.shape[2:]) <= 64)
    shape = g.shape(x)
    channels = shape[1]
    tokens = g.op("Transpose", [g.op("Reshape", [x, g.integers(0, channels, -1)])], perm=[0, 2, 1])
    heads = g.pick((1, 2))
    if g.opset >= 13 and g.chance(0.5):
        joined = _project(g, tokens, channels, 3 * channels)
        if g.opset >= 18:
            query = g.op("Split", [joined], 3, axis=2, num_outputs=3)
        else:
            query = g.op("Split", [joined, g.integers(*[channels] * 3)], 3, axis=2)
        names = [query, *_other_outputs(g, 2)]
    else:
        names = [_project(g, tokens, channels, channels) for _ in range(3)]
    q, k, v = (
        g.op(
            "Transpose",
            [g.op("Reshape", [name, g.integers(0, -1, heads, channels // heads)])],
            perm=[0, 2, 3, 1] if number == 1 else [0, 2, 1, 3],
        )
        for number, name in enumerate(names)
    )
    scores = g.op("MatMul", [q, k])
    scores = g.op("Mul", [scores, g.weight(np.array((channels / heads) ** -0.5, np.float32), plain=True)])
    mixed = g.op("MatMul", [g.op("Softmax", [scores], axis=3), v])
    joined = g.op("Reshape", [g.op("Transpose", [mixed], perm=[0, 2, 1, 3]), g.integers(0, -1, channels)])
    out = _project(g, joined, channels, channels)
    if g.chance(0.6):
        out = g.op("Add", [out, tokens])
    if g.chance(0.7):
        g.op("Reshape", [g.op("Transpose", [out], perm=[0, 2, 1]), g.integers(0, *shape[1:])])


def _project(g: RandomGraph, x: str, inputs: int, outputs: int) -> str:
    weight = (g.rng.standard_normal((inputs, outputs)) / np.sqrt(inputs)).astype(np.float32)
    y = g.op("MatMul", [x, g.weight(weight)])
    return g.op("Add", [g.weight(g.rng.standard_normal(outputs).astype(np.float32)), y]) if g.chance(0.7) else y


def _other_outputs(g: RandomGraph, number: int) -> list[str]:
    """Return the names of the outputs after the first of the newest node."""
    names = g.newest_outputs()[1:]
    if len(names) != number:
        raise NotApplicableError("another number of outputs")
    return names


ATTENTION = (layer_norm, layer_norm, attention)
"""Functions that add a part of a transformer."""
