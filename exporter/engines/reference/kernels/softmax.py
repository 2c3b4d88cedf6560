"""Softmax, LogSoftmax and Hardmax. Before opset 13 they take all axes from `axis` on together, by default from 1 on.

https://onnx.ai/onnx/operators/text_diff_Softmax_11_13.html has the change. onnx's evaluator knows the later form only.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from exporter.engines.reference.node import Node

ALONG_ONE_AXIS = 13
"""The opset from which they take a single axis, by default the last one."""


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
