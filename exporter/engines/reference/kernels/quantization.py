"""Quantisation with numbers that follow from the data."""

from __future__ import annotations

from typing import Any

import numpy as np

from exporter.engines.reference.node import Node

LEVELS = 255


def dynamic_quantize_linear(node: Node, x: Any) -> Any:
    """Quantised values in uint8, their scale, and their zero point.

    The specification leaves two cases open, and onnxruntime decides: the scale of zeros alone is 1, and NaN, which the
    range leaves out, becomes 0.
    """
    del node
    low, high = np.fmin.reduce(x, None, initial=0.0), np.fmax.reduce(x, None, initial=0.0)
    scale = (high - low) / LEVELS or np.float64(1)
    zero_point = np.clip(np.rint(-low / scale), 0, LEVELS)
    quantised = np.clip(np.rint(x / scale) + zero_point, 0, LEVELS)
    y = np.where(np.isnan(quantised), 0, quantised).astype(np.uint8)
    return y, np.asarray(scale, x.dtype), np.asarray(0 if np.isnan(zero_point) else zero_point, np.uint8)
