"""Refusals of inputs that nothing can be drawn for, and of numbers that an input does not hold."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from exporter.errors import BadInputError, LimitError, UsageError
from exporter.onnx_io.dtypes import numpy_dtype
from exporter.parity.input_types import RANGES, is_float
from exporter.parity.sequences import is_nested
from exporter.types import UNKNOWN_RANK, ValueRange
from models.specs import TensorSpec

MAX_POSSIBLE = 1 << 40
"""Numbers of an input that no memory holds."""


def require_drawable(value: TensorSpec, shape: tuple[int | str, ...]) -> None:
    """Refuse an input of which nothing can be drawn.

    Args:
        value: the input.
        shape: its sizes, as far as they are stated; the others are strings.

    Raises:
        UsageError: with the option that helps.
        LimitError: its stated sizes alone are more than a memory holds.
    """
    if UNKNOWN_RANK in shape:
        raise UsageError(
            f"{value}: its rank is not stated; give its shape as --shape {value.name}=1x3x224x224, say, or inputs as "
            "--array FILE.npz"
        )
    if is_nested(value.dtype):
        raise UsageError(
            f"{value.name} {value.dtype}: only tensors and sequences of tensors can be fed; compare the part of the "
            "model that takes the tensors in it, or optimize with --no-verify"
        )
    if not is_float(value.dtype) and not re.fullmatch(r"u?int\d+|bool|string", value.dtype):
        raise UsageError(f"{value}: nothing can be drawn for this type; --no-verify optimizes without the check")
    numbers = prod(size for size in shape if isinstance(size, int))
    if numbers > MAX_POSSIBLE:
        raise LimitError(f"input {value.name}: has {numbers:.1e} numbers, more than any memory holds")


def require_representable(value: TensorSpec, given: ValueRange) -> None:
    """Refuse numbers that the dtype of an input does not have.

    Raises:
        UsageError: with the numbers that it has.
    """
    limits = number_limits(value.dtype)
    if given.low < limits.low or given.high > limits.high:
        raise UsageError(f"--feed {value.name}={given}: {value} holds numbers of {limits} only")


def number_limits(dtype: str) -> ValueRange:
    """Return the smallest and the largest finite number that an input of a dtype is fed.

    Numbers of float64 and complex inputs are drawn in float32.
    """
    if is_float(dtype):
        narrow = dtype if dtype.startswith(("float16", "bfloat16", "float8", "float4")) else "float32"
        largest = float(ml_dtypes.finfo(numpy_dtype(narrow)).max)
        return ValueRange(-largest, largest)
    if dtype in RANGES:
        return RANGES[dtype]
    integers = np.iinfo(dtype if re.fullmatch(r"u?int\d+", dtype) else "int64")
    return ValueRange(integers.min, min(integers.max, np.iinfo("int64").max))


def require_in_range(path: Path, value: TensorSpec, array: NDArray[Any]) -> None:
    """Refuse a file's array with a finite number beyond the dtype of its input, which would become another number.

    Raises:
        BadInputError: with the number and those that the input holds.
    """
    if array.dtype.kind not in "fiu" or value.dtype in ("string", "bool", "float64") or not array.size:
        return
    limits = number_limits(value.dtype)
    numbers = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    for number in (numbers.min(), numbers.max()) if numbers.size else ():
        if not limits.low <= number <= limits.high:
            raise BadInputError(f"{path}: {value.name} has {number:g}; {value} holds numbers of {limits} only")
