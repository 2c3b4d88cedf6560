"""Activations and softmax in torch: all cores, and no copies of the input beside the output; BitCast; optional values.

Before opset 13 Softmax, LogSoftmax and Hardmax take all axes from `axis` on together, by default from 1 on:
https://onnx.ai/onnx/operators/text_diff_Softmax_11_13.html. onnx's evaluator knows the later form only.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from onnx import helper
from torch.nn import functional as F

from exporter.engines.reference.kernels.types import to_tensor
from exporter.engines.reference.node import Node, UnsupportedError

LEAKY_SLOPE = float(np.float32(0.01))
BIT_CAST_FLOATS = {4: np.float32, 8: np.float64}
"""{bytes of a number: the floating-point type of that width}, where there is one."""
ALONG_ONE_AXIS = 13
"""The opset from which they take a single axis, by default the last one."""


def relu(_node: Node, x: Any) -> Any:
    """Values, or 0 where they are negative."""
    return torch.relu(to_tensor(x)).numpy()


def leaky_relu(node: Node, x: Any) -> Any:
    """Values times a slope where they are negative."""
    return F.leaky_relu(to_tensor(x), node.attributes.get("alpha", LEAKY_SLOPE)).numpy()


def parametric_relu(_node: Node, x: Any, slope: Any) -> Any:
    """Values times a slope, which is broadcast to them, where they are negative."""
    values = to_tensor(x)
    return torch.where(values < 0, values * to_tensor(slope), values).numpy()


def sigmoid(_node: Node, x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(to_tensor(x)).numpy()


def erf(_node: Node, x: Any) -> Any:
    """Error function."""
    return torch.erf(to_tensor(x)).numpy()


def gelu(node: Node, x: Any) -> Any:
    """Gaussian error linear unit."""
    return F.gelu(to_tensor(x), approximate=node.attributes.get("approximate", "none")).numpy()


def bit_cast(node: Node, x: Any) -> Any:
    """Return the bits of numbers as another type of the same width, in the types that they have in the file.

    The evaluator stores all floating-point numbers in one type, whatever it is in the file. The type in the file
    follows from the width of the other side of the cast.
    """
    target = helper.tensor_dtype_to_np_dtype(node.attributes["to"])
    floats = x.dtype.kind == "f", target.kind == "f"
    width = target.itemsize if floats[0] else x.dtype.itemsize
    if any(floats) and (all(floats) or width not in BIT_CAST_FLOATS):
        raise UnsupportedError("the type in the file is not known")
    if floats[0]:
        x = x.astype(BIT_CAST_FLOATS[width])
    return np.ascontiguousarray(x).view(BIT_CAST_FLOATS[width] if floats[1] else target).reshape(x.shape)


def optional(_node: Node, value: Any = None) -> Any:
    """Return the value, or an absent one."""
    return value


def has_element(_node: Node, value: Any = None) -> Any:
    """Return whether the value is there."""
    return np.array(value is not None)


def get_element(_node: Node, value: Any = None) -> Any:
    """Return the value.

    Raises:
        UnsupportedError: it is absent.
    """
    if value is None:
        raise UnsupportedError("the optional value is absent")
    return value


def softmax(node: Node, x: Any) -> Any:
    """Return exp(x) over its sum."""

    def compute(values: Any, axis: int) -> Any:
        powers = np.exp(values - values.max(axis=axis, keepdims=True))
        return powers / powers.sum(axis=axis, keepdims=True)

    return _along_axis(node, x, compute)


def log_softmax(node: Node, x: Any) -> Any:
    """Return the logarithm of the softmax."""

    def compute(values: Any, axis: int) -> Any:
        shifted = values - values.max(axis=axis, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))

    return _along_axis(node, x, compute)


def hardmax(node: Node, x: Any) -> Any:
    """Return 1 at the first of the highest numbers and 0 elsewhere."""

    def compute(values: Any, axis: int) -> Any:
        ones = np.zeros_like(values)
        np.put_along_axis(ones, values.argmax(axis=axis, keepdims=True), 1, axis)
        return ones

    return _along_axis(node, x, compute)


def _along_axis(node: Node, x: Any, compute: Callable[[Any, int], Any]) -> Any:
    if x.size == 0:
        return x
    if node.opset >= ALONG_ONE_AXIS:
        return compute(x, node.attributes.get("axis", -1)).astype(x.dtype, copy=False)
    axis = node.attributes.get("axis", 1)
    rows = prod(x.shape[: axis + x.ndim if axis < 0 else axis])
    return compute(x.reshape(rows, x.size // rows), 1).reshape(x.shape).astype(x.dtype, copy=False)
