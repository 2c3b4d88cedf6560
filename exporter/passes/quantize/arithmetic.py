"""The numbers of affine quantisation: `real = scale * (quantised - zero_point)`.

*Source*: ONNX QuantizeLinear; Jacob et al., *Quantization and Training of Neural Networks* (2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WEIGHT_LEVELS = 127
"""The largest magnitude of a quantised weight; -128 is not used, so that the range is symmetric."""


@dataclass(frozen=True)
class Scale:
    """How one activation is quantised.

    Attributes:
        scale: float32 scalar, positive.
        zero_point: int8 or uint8 scalar.
    """

    scale: NDArray[Any]
    zero_point: NDArray[Any]


def symmetric_scale(low: float, high: float) -> Scale:
    """Return the scale of int8 with zero point 0 for the range [low, high]."""
    return Scale(_positive(max(abs(low), abs(high)) / WEIGHT_LEVELS), np.array(0, np.int8))


def unsigned_scale(low: float, high: float) -> Scale:
    """Return the scale of uint8 for the range [low, high], extended to contain 0, which is then exact."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = _positive((high - low) / 255)
    return Scale(scale, np.array(np.clip(np.rint(-low / float(scale)), 0, 255), np.uint8))


def quantize_weight(
    weight: NDArray[Any], axes: int | tuple[int, ...], zero_point: int = 0
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a weight in int8 and its scales, which have size 1 along `axes`.

    Args:
        weight: float32.
        axes: those that share a scale: the largest magnitude over the number of levels on one side of the zero point;
            1 where all are zero.
        zero_point: what stands for 0; not negative.
    """
    levels = np.float32(WEIGHT_LEVELS - zero_point)
    largest = np.maximum(weight.max(axes, keepdims=True, initial=0), -weight.min(axes, keepdims=True, initial=0))
    scales = np.where(largest > 0, largest / levels, np.float32(1))
    scaled = weight / scales
    np.rint(scaled, out=scaled)
    np.clip(scaled, -levels, levels, out=scaled)
    return (scaled + np.float32(zero_point) if zero_point else scaled).astype(np.int8), scales


def quantize_bias(bias: NDArray[Any], source: Scale, weight_scales: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a bias in int32 and its scales, the products of the input's and the weight's, so that it adds to the sums.

    A bias beyond int32 at that scale is clipped.
    """
    scales = (source.scale * weight_scales).astype(np.float32)
    limits = np.iinfo(np.int32)
    return np.clip(np.rint(bias / scales.astype(np.float64)), limits.min, limits.max).astype(np.int32), scales


def _positive(scale: float) -> NDArray[Any]:
    """Return a scale in float32; 1 for a range of zeros, and for one so small that float32 has no such scale."""
    return np.array(scale if scale >= np.finfo(np.float32).tiny else 1.0, np.float32)
