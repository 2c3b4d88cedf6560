"""Normalisations: statistics in two passes, with one copy of the input."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from exporter.engines.reference.kernels.types import to_tensor
from exporter.engines.reference.node import Node, UnsupportedError

EPSILON = float(np.float32(1e-5))
"""ONNX's default."""
ALPHA = float(np.float32(1e-4))
MOMENTUM = float(np.float32(0.9))


def batch_normalization(node: Node, x: Any, scale: Any, bias: Any, mean: Any, var: Any) -> Any:
    """Normalise by given statistics, or by the batch's in training mode (opset 14 and later)."""
    training = node.attributes.get("training_mode", 0)
    if node.attributes.get("spatial") == 0 or (node.outputs > 1 and not training) or node.opset < 6:
        raise UnsupportedError("statistics for each position (spatial=0), or training mode before opset 14")
    if x.dtype not in (np.float32, np.float64):
        raise UnsupportedError(str(x.dtype))
    ones = (-1, *[1] * (x.ndim - 2))
    outputs: tuple[Any, ...] = ()
    if training:
        momentum, axes = node.attributes.get("momentum", MOMENTUM), (0, *range(2, x.ndim))
        now_mean, now_var = x.mean(axis=axes), x.var(axis=axes)
        outputs = (mean * momentum + now_mean * (1 - momentum), var * momentum + now_var * (1 - momentum))
        mean, var = now_mean, now_var
    factor = scale / np.sqrt(var + node.attributes.get("epsilon", EPSILON))
    y = x - mean.reshape(ones)
    y *= factor.reshape(ones)
    y += bias.reshape(ones)
    return (y.astype(x.dtype, copy=False), *outputs)[: max(node.outputs, 1)]


def instance_normalization(node: Node, x: Any, scale: Any, bias: Any) -> Any:
    """Normalise every channel of every item."""
    return _normalize_groups(node, x, x.shape[1], scale, bias)


def group_normalization(node: Node, x: Any, scale: Any, bias: Any) -> Any:
    """Normalise groups of channels; scale and bias are for every group before opset 21, then for every channel."""
    return _normalize_groups(node, x, node.attributes["num_groups"], scale, bias)


def _normalize_groups(node: Node, x: Any, groups: int, scale: Any, bias: Any) -> Any:
    y = _normalize(to_tensor(x).reshape(x.shape[0], groups, -1), node.attributes.get("epsilon", EPSILON))[0]
    y = y.reshape(x.shape[0], len(scale), -1)
    y *= to_tensor(scale)[:, None]
    y += to_tensor(bias)[:, None]
    return y.reshape(x.shape).numpy()


def layer_normalization(node: Node, x: Any, scale: Any, bias: Any = None) -> Any:
    """Normalise over the axes from `axis` on; the mean and the inverse deviation are outputs too."""
    axis = node.attributes.get("axis", -1) % x.ndim
    rows = to_tensor(x).reshape(int(np.prod(x.shape[:axis])), -1)
    y, mean, inverse = _normalize(rows, node.attributes.get("epsilon", EPSILON))
    y = y.reshape(x.shape)
    y = y * to_tensor(scale)
    if bias is not None:
        y = y + to_tensor(bias)
    shape = (*x.shape[:axis], *[1] * (x.ndim - axis))
    return (y.numpy(), mean.reshape(shape).numpy(), inverse.reshape(shape).numpy())[: max(node.outputs, 1)]


def local_response_normalization(node: Node, x: Any) -> Any:
    """Divide by a power of the sum of squares over neighbouring channels."""
    size, beta = node.attributes["size"], node.attributes.get("beta", 0.75)
    alpha, bias = node.attributes.get("alpha", ALPHA), node.attributes.get("bias", 1.0)
    square = to_tensor(x).square()
    before, total = (size - 1) // 2, torch.zeros_like(square)
    for step in range(-before, size - before):
        here = slice(max(-step, 0), x.shape[1] - max(step, 0))
        there = slice(max(step, 0), x.shape[1] + min(step, 0))
        if here.start < here.stop:
            total[:, here] += square[:, there]
    return (to_tensor(x) / (bias + alpha / size * total) ** beta).numpy()


def lp_normalization(node: Node, x: Any) -> Any:
    """Divide by the p-norm along an axis; a norm of 0 gives 0."""
    axis, p = node.attributes.get("axis", -1), node.attributes.get("p", 2)
    norm = (np.abs(x) ** p).sum(axis=axis, keepdims=True) ** (1 / p)
    return np.divide(x, norm, out=np.zeros_like(x), where=norm != 0)


def mean_variance_normalization(node: Node, x: Any) -> Any:
    """Normalise over the axes, all but the channels by default; 1e-9 is added to the deviation, as in ONNX."""
    axes = tuple(node.attributes.get("axes") or (0, 2, 3))
    y = x - x.mean(axis=axes, keepdims=True)
    y /= np.sqrt(np.square(y).mean(axis=axes, keepdims=True)) + 1e-9
    return y


def _normalize(x: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (normalised values, mean, inverse deviation) over the last axis."""
    mean = x.mean(dim=-1, keepdim=True)
    y = x - mean
    square = torch.linalg.vecdot(y, y)[..., None] / x.shape[-1]  # no copy of the input for the squares
    inverse = (square + epsilon).rsqrt()
    y *= inverse
    return y, mean, inverse
