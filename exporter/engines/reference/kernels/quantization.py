"""Quantising operators of ONNX, and onnxruntime's own QLinearConv and NhwcMaxPool, which take channels last."""

from __future__ import annotations

from typing import Any

import numpy as np

from exporter.engines.reference.kernels.convolution import conv
from exporter.engines.reference.kernels.pooling import max_pool
from exporter.engines.reference.node import Node, UnsupportedError

UINT8_MAX = 255


def dynamic_quantize_linear(_node: Node, x: Any) -> Any:
    """Quantised values in uint8, their scale, and their zero point.

    Two cases that the specification leaves open are computed as in onnxruntime: an input of zeros only has scale 1, and
    NaN, which does not count for the range, becomes 0.
    """
    low, high = np.fmin.reduce(x, None, initial=0.0), np.fmax.reduce(x, None, initial=0.0)
    scale = (high - low) / UINT8_MAX or np.float64(1)
    zero_point = np.clip(np.rint(-low / scale), 0, UINT8_MAX)
    quantised = np.clip(np.rint(x / scale) + zero_point, 0, UINT8_MAX)
    y = np.where(np.isnan(quantised), 0, quantised).astype(np.uint8)
    return y, np.asarray(scale, x.dtype), np.asarray(0 if np.isnan(zero_point) else zero_point, np.uint8)


def quantize_linear(node: Node, x: Any, scale: Any, zero_point: Any = None) -> Any:
    """`round(x / scale) + zero_point`, with halves rounded to even, saturated; in uint8 without a zero point."""
    if node.attributes.get("output_dtype", 0) and zero_point is None:
        raise UnsupportedError("a dtype without a zero point")
    dtype = np.dtype(np.uint8) if zero_point is None else zero_point.dtype
    limits = _limits(dtype)
    scales, zeros = (spread(node, number, x) for number in (scale, zero_point))
    levels = np.rint(x / scales) + (0 if zeros is None else zeros.astype(np.float64))
    return np.clip(levels, limits.min, limits.max).astype(dtype)


def dequantize_linear(node: Node, x: Any, scale: Any, zero_point: Any = None) -> Any:
    """Numbers in the dtype of the scale: `(x - zero_point) * scale`."""
    _limits(x.dtype)
    scales, zeros = (spread(node, number, x) for number in (scale, zero_point))
    return (x.astype(scales.dtype) - (0 if zeros is None else zeros.astype(scales.dtype))) * scales


def _limits(dtype: np.dtype[Any]) -> np.iinfo[Any]:
    if dtype.kind not in "iu":
        raise UnsupportedError(f"levels in {dtype}")
    return np.iinfo(dtype)


def spread(node: Node, numbers: Any, x: Any) -> Any:
    """Return the numbers of a tensor, of each slice along `axis`, or of each block, in a shape that broadcasts to x."""
    if numbers is None or np.size(numbers) == 1:
        return None if numbers is None else np.asarray(numbers).reshape(())
    axis, block = node.attributes.get("axis", 1), node.attributes.get("block_size", 0)
    if block:
        return np.take(np.repeat(numbers, block, axis), np.arange(x.shape[axis]), axis)
    shape = [1] * x.ndim
    shape[axis] = -1
    return numbers.reshape(shape)


def qlinear_conv(
    node: Node,
    x: Any,
    x_scale: Any,
    x_zero: Any,
    w: Any,
    w_scale: Any,
    w_zero: Any,
    y_scale: Any,
    y_zero: Any,
    b: Any = None,
) -> Any:
    """Convolve integers exactly, then scale the sums and round them to the quantised values of the output.

    With the attribute `channels_last`, x and the result are (N, …, C); the weight is (M, C / group, …) always.
    """
    last = bool(node.attributes.get("channels_last", 0))
    centred = to_first(x, last).astype(np.float64) - float(x_zero)
    per_channel = (-1, *[1] * (w.ndim - 1))
    weight = w.astype(np.float64) - np.asarray(w_zero, np.float64).reshape(per_channel)
    sums = conv(node, centred, weight, None if b is None else b.astype(np.float64))
    scales = np.asarray(w_scale, np.float64) * float(x_scale) / float(y_scale)
    levels = np.rint(sums * scales.reshape(per_channel[:-1])) + float(y_zero)
    limits = np.iinfo(y_zero.dtype)
    return from_first(np.clip(levels, limits.min, limits.max).astype(y_zero.dtype), last)


def nhwc_max_pool(node: Node, x: Any) -> Any:
    """Max pool of integers (N, …, C)."""
    return from_first(max_pool(node, to_first(x, last=True)), last=True)


def to_first(x: Any, last: bool) -> Any:
    """Return x with channels first; `last` says whether they are last."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if last else x


def from_first(x: Any, last: bool) -> Any:
    """Return x with channels last again, where `last`."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if last else x
