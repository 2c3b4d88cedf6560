"""Quantising operators without their rounding: a quantised value is `real / scale + zero_point`, which is no integer.

A graph in 8 bits is then the real function that it approximates. Saturation is more than rounding: a range that begins
at 0 does the work of a ReLU, one from -1 to 1 that of a Clip. So values are limited as `Limits` says.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from exporter.engines.reference.kernels.convolution import conv
from exporter.engines.reference.kernels.quantization import from_first, spread, to_first
from exporter.engines.reference.node import Node, UnsupportedError

BOUND_ERROR = 1.0
"""How many levels a range may end beside an activation's bound, because its zero point is rounded and a percentile of
the values a little less; 0 is a level."""


@dataclass(frozen=True)
class Limits:
    """What limits quantised values, which are real numbers.

    Attributes:
        bounds: numbers at which activations end, 0 of a ReLU and 6 of a ReLU6: a range that ends beside one ends there,
            and any other range nowhere.
        whole_range: every range ends at the levels of its type.
    """

    bounds: tuple[float, ...] = ()
    whole_range: bool = False


LevelKernel = Callable[..., Any]
"""Takes the limits, the node and its inputs, as a `Kernel` does."""


def quantize_linear(limits: Limits, node: Node, x: Any, scale: Any, zero_point: Any = None) -> Any:
    """`x / scale + zero_point`."""
    if node.attributes.get("output_dtype", 0) and zero_point is None:
        raise UnsupportedError("a dtype without a zero point")
    if zero_point is None:
        zero_point = np.uint8(0)
    zeros = spread(node, zero_point, x)
    steps = spread(node, scale, x)
    return _limit(limits, x / steps + zeros.astype(np.float64), zeros, steps)


def dequantize_linear(_limits: Limits, node: Node, x: Any, scale: Any, zero_point: Any = None) -> Any:
    """`(x - zero_point) * scale`."""
    return _real(x, spread(node, scale, x), spread(node, zero_point, x))


def dynamic_quantize_linear(_limits: Limits, _node: Node, x: Any) -> Any:
    """Quantised values, their scale and their zero point, none of them rounded."""
    low, high = np.fmin.reduce(x, None, initial=0.0), np.fmax.reduce(x, None, initial=0.0)
    scale = (high - low) / 255 or np.float64(1)
    return x / scale - low / scale, np.asarray(scale), np.asarray(-low / scale)


def qlinear_conv(
    limits: Limits,
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
    """See `quantization.qlinear_conv`."""
    last = bool(node.attributes.get("channels_last", 0))
    channels = (-1, *[1] * (w.ndim - 1))
    weight = _real(w, np.reshape(w_scale, channels), np.reshape(w_zero, channels))
    bias = None if b is None else b.astype(np.float64) * np.ravel(w_scale) * np.ravel(x_scale)
    y = conv(node, _real(to_first(x, last), x_scale, x_zero), weight, bias)
    return from_first(_levels(limits, y, y_scale, y_zero), last)


def qgemm(
    limits: Limits,
    node: Node,
    a: Any,
    a_scale: Any,
    a_zero: Any,
    b: Any,
    b_scale: Any,
    b_zero: Any,
    c: Any = None,
    y_scale: Any = None,
    y_zero: Any = None,
) -> Any:
    """Onnxruntime's QGemm; its bias is in units of alpha times both scales, and without a scale the result is real."""
    transposed = bool(node.attributes.get("transB", 0))
    columns = (-1, 1) if transposed and np.size(b_scale) > 1 else (-1,)
    left, right = _real(a, a_scale, a_zero), _real(b, np.reshape(b_scale, columns), np.reshape(b_zero, columns))
    left = left.T if node.attributes.get("transA", 0) else left
    alpha = node.attributes.get("alpha", 1.0)
    y = alpha * (left @ (right.T if transposed else right))
    if c is not None:
        y = y + c.astype(np.float64) * alpha * np.ravel(a_scale) * np.ravel(b_scale)
    return y if y_scale is None else _levels(limits, y, y_scale, y_zero)


def _of_two(function: Callable[[Any, Any], Any]) -> LevelKernel:
    """Return the kernel of an operator of two quantised values, quantised."""

    def kernel(limits: Limits, _node: Node, a: Any, sa: Any, za: Any, b: Any, sb: Any, zb: Any, *y: Any) -> Any:
        return _levels(limits, function(_real(a, sa, za), _real(b, sb, zb)), *y)

    return kernel


def qlinear_concat(limits: Limits, node: Node, y_scale: Any, y_zero: Any, *parts: Any) -> Any:
    """Quantised values behind each other, quantised anew."""
    values = [_real(*parts[start : start + 3]) for start in range(0, len(parts), 3)]
    return _levels(limits, np.concatenate(values, node.attributes["axis"]), y_scale, y_zero)


def qlinear_global_average_pool(limits: Limits, node: Node, x: Any, x_scale: Any, x_zero: Any, *y: Any) -> Any:
    """The mean of each channel, quantised."""
    axes = tuple(range(1, x.ndim - 1) if node.attributes.get("channels_last", 0) else range(2, x.ndim))
    return _levels(limits, _real(x, x_scale, x_zero).mean(axes, keepdims=True), *y)


def matmul_integer(_limits: Limits, _node: Node, a: Any, b: Any, a_zero: Any = None, b_zero: Any = None) -> Any:
    """The product of two matrices of levels, without their zero points."""
    rows = None if a_zero is None else np.reshape(a_zero, (-1, 1)) if np.size(a_zero) > 1 else a_zero
    return _real(a, 1.0, rows) @ _real(b, 1.0, b_zero)


def conv_integer(_limits: Limits, node: Node, x: Any, w: Any, x_zero: Any = None, w_zero: Any = None) -> Any:
    """The convolution of levels, without their zero points."""
    channels = None if w_zero is None else np.reshape(w_zero, (-1, *[1] * (w.ndim - 1)))
    return conv(node, _real(x, 1.0, x_zero), _real(w, 1.0, channels))


def _real(levels: Any, scale: Any, zero_point: Any = None) -> Any:
    """Return the real numbers of levels, in float64."""
    zeros = 0.0 if zero_point is None else np.asarray(zero_point).astype(np.float64)
    return (levels.astype(np.float64) - zeros) * np.asarray(scale, np.float64)


def _levels(limits: Limits, real: Any, scale: Any, zero_point: Any = None) -> Any:
    zeros = np.uint8(0) if zero_point is None else np.asarray(zero_point).reshape(())
    step = np.asarray(scale, np.float64).reshape(())
    return _limit(limits, real / step + zeros.astype(np.float64), zeros, step)


def _limit(limits: Limits, levels: Any, zeros: Any, scale: Any) -> Any:
    if zeros.dtype.kind not in "iu":
        return levels
    ends = (float(np.iinfo(zeros.dtype).min), float(np.iinfo(zeros.dtype).max))
    if limits.whole_range:
        return np.clip(levels, *ends)
    if not limits.bounds:
        return levels
    low, high = np.asarray(-np.inf), np.asarray(np.inf)
    for bound in limits.bounds:
        level = np.asarray(bound / scale + zeros.astype(np.float64))
        allowed = BOUND_ERROR if bound else 0.0
        low = np.where(np.abs(level - ends[0]) <= allowed, level, low)
        high = np.where(np.abs(level - ends[1]) <= allowed, level, high)
    return np.clip(levels, low, high)


LEVEL_KERNELS: dict[tuple[str, str], LevelKernel] = {
    ("", "ConvInteger"): conv_integer,
    ("", "DequantizeLinear"): dequantize_linear,
    ("", "DynamicQuantizeLinear"): dynamic_quantize_linear,
    ("", "MatMulInteger"): matmul_integer,
    ("", "QLinearConv"): qlinear_conv,
    ("", "QLinearMatMul"): _of_two(operator.matmul),
    ("", "QuantizeLinear"): quantize_linear,
    ("com.microsoft", "DequantizeLinear"): dequantize_linear,
    ("com.microsoft", "QGemm"): qgemm,
    ("com.microsoft", "QLinearAdd"): _of_two(operator.add),
    ("com.microsoft", "QLinearConcat"): qlinear_concat,
    ("com.microsoft", "QLinearConv"): qlinear_conv,
    ("com.microsoft", "QLinearGlobalAveragePool"): qlinear_global_average_pool,
    ("com.microsoft", "QLinearMul"): _of_two(operator.mul),
    ("com.microsoft", "QuantizeLinear"): quantize_linear,
}
"""{(domain, operator): kernel without rounding}."""
