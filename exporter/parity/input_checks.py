"""Refusals of inputs that nothing can be drawn for, and of numbers that an input does not hold."""

from __future__ import annotations

import re
from math import prod

import numpy as np

from exporter.errors import LimitError, UsageError
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
            f"{value.name} {value.dtype}: only tensors and sequences of tensors are fed; compare the part of the model "
            "that takes the tensors in it, or optimize with --no-verify"
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
    if is_float(value.dtype):
        largest = float(np.finfo(np.float32).max)
        limits = ValueRange(-largest, largest)
    elif value.dtype in RANGES:
        limits = RANGES[value.dtype]
    else:
        integers = np.iinfo(value.dtype if re.fullmatch(r"u?int\d+", value.dtype) else "int64")
        limits = ValueRange(integers.min, min(integers.max, np.iinfo("int64").max))
    if given.low < limits.low or given.high > limits.high:
        raise UsageError(f"--feed {value.name}={given}: {value} holds numbers of {limits} only")
