"""Rounding of computed values to float16."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from exporter.engines.reference.kernels.types import to_tensor


def round_to_float16(value: Any) -> Any:
    """Return a value with each float32 number replaced by the nearest of float16, in float32.

    Ties go to the even number, numbers from 65520 become infinite, and those below 2^-14 are rounded to multiples of
    2^-24: IEEE 754 binary16, as a GPU's conversion does. Sequences are rounded item by item; what is no float32 stays.
    """
    if isinstance(value, list):
        return [round_to_float16(item) for item in value]
    if not isinstance(value, np.ndarray) or value.dtype != np.float32:
        return value
    return to_tensor(value).to(torch.float16).float().numpy()
