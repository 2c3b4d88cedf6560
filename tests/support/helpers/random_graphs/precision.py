"""Parts of a graph in another precision: float16 layers, and weights and activations in 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from helpers.random_graphs.graph import NotApplicableError, RandomGraph
from helpers.random_graphs.layers import is_image

Add = Callable[[RandomGraph], None]


def half_section(g: RandomGraph, adds: Sequence[Add]) -> None:
    """Add one to three operators in float16, between a Cast to it and one back."""
    g.op("Cast", [g.value()], to=TensorProto.FLOAT16)
    g.commit()
    g.dtype = "float16"
    try:
        for _ in range(g.number(1, 3)):
            try:
                g.pick(adds)(g)
                g.commit()
            except NotApplicableError:
                g.drop()
        g.op("Cast", [g.value()], to=TensorProto.FLOAT)
    finally:
        g.dtype = "float32"


def quantized(g: RandomGraph) -> None:
    """A pair of QuantizeLinear and DequantizeLinear, before a convolution or matrix product whose weights are int8."""
    if g.opset < 10 or g.dtype != "float32":
        raise NotApplicableError("QuantizeLinear came with opset 10")
    x = g.value(is_image) if g.chance(0.7) else g.value(lambda x: x.ndim == 2)
    shape, sample = g.shape(x), g.values[x][0]
    y = _quantize(g, x, float(np.abs(sample).max()) or 1.0) if g.chance(0.6) else x
    outputs = g.pick((2, 4, 8))
    kernel = [g.pick((1, 3)) for _ in shape[2:]]
    weight = g.rng.standard_normal((outputs, shape[1], *kernel)) / np.sqrt(shape[1] * np.prod(kernel))
    channelwise = g.opset >= 13 and g.chance(0.6)
    largest: Any = np.abs(weight).max(axis=tuple(range(1, weight.ndim))) if channelwise else np.abs(weight).max()
    scale = np.asarray(largest / 127, np.float32)
    whole = np.round(weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8)
    names = [g.initializer(array) for array in (whole, scale, np.zeros(scale.shape, np.int8))]
    w = g.op("DequantizeLinear", names, **({"axis": 0} if channelwise else {}))
    bias = [g.weight(g.rng.standard_normal(outputs).astype(np.float32))] if g.chance(0.6) else []
    if len(shape) == 2:
        z = g.op("Gemm", [y, w, *(bias or [g.weight(np.zeros(outputs, np.float32))])], transB=1)
    else:
        z = g.op("Conv", [y, w, *bias], pads=[size // 2 for size in kernel] * 2)
    if g.chance(0.4):
        z = g.op("Relu", [z])
    if g.chance(0.4):
        _quantize(g, z, 8.0)


def _quantize(g: RandomGraph, x: str, largest: float) -> str:
    signed = g.chance(0.5)
    scale = g.initializer(np.array(largest / 127, np.float32))
    zero = g.initializer(np.array(0, np.int8) if signed else np.array(128, np.uint8))
    return g.op("DequantizeLinear", [g.op("QuantizeLinear", [x, scale, zero]), scale, zero])
