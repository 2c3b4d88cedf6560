"""A tensor as a file describes it: where its numbers are, before anything is made of them.

Readers return these and need no torch, so that a bad file is refused before torch is imported. `tensors.load_tensor`
makes the tensor.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from models.checkpoints.dtypes import DType

if TYPE_CHECKING:
    from torch import Tensor

MAX_AXES = 64
"""torch's own limit."""

MAX_BYTES = 1 << 62
"""Of a tensor, axes of size 0 not counted: torch cannot address more, and has no empty tensors beyond."""


@dataclass(eq=False)
class FileBytes:
    """Bytes that hold the numbers of one tensor, or of several that share them.

    Attributes:
        raw: the bytes, mostly a part of the mapped file.
        big_endian: the byte order of the numbers.
        loaded: {dtype: the tensor of one axis that `tensors` made of them}.
    """

    raw: memoryview
    big_endian: bool = False
    loaded: dict[DType, Tensor] = field(default_factory=dict["DType", "Tensor"], repr=False)

    def is_swapped(self, dtype: DType) -> bool:
        """Return whether numbers of this dtype are in another byte order than this machine's."""
        return dtype.swapped_size > 1 and self.big_endian != (sys.byteorder == "big")

    def must_copy(self, dtype: DType) -> bool:
        """Return whether torch cannot use the numbers where they are: of another byte order, read-only, not aligned."""
        if not self.raw.nbytes:
            return False
        address = np.frombuffer(self.raw, np.uint8).ctypes.data
        return self.is_swapped(dtype) or self.raw.readonly or bool(address % dtype.itemsize)


@dataclass(frozen=True, eq=False)
class FileTensor:
    """A tensor in a file.

    Attributes:
        dtype: of its numbers.
        shape: its sizes.
        stride: numbers from one index of each axis to the next; 0 where one number is repeated.
        data: where its numbers are; None where it has a shape only (torch's meta device).
        offset: of its first number in `data`, in numbers.
        conjugate: whether it is the conjugate of those numbers.
        negative: whether it is the negative of those numbers.
    """

    dtype: DType
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    data: FileBytes | None
    offset: int = 0
    conjugate: bool = False
    negative: bool = False

    def transpose(self) -> FileTensor:
        """Return the tensor with its axes in the reverse order: Fortran's order becomes C's."""
        return FileTensor(self.dtype, self.shape[::-1], self.stride[::-1], self.data, self.offset)


def contiguous(dtype: DType, shape: tuple[int, ...], data: FileBytes) -> FileTensor:
    """Return the tensor whose numbers fill `data` in C order."""
    return FileTensor(dtype, shape, contiguous_stride(shape), data)


def contiguous_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of C order, in numbers; an axis of size 0 counts as one of size 1, as in torch."""
    return tuple(prod(max(size, 1) for size in shape[axis + 1 :]) for axis in range(len(shape)))


def is_possible(dtype: DType, shape: tuple[int, ...], stride: tuple[int, ...] = ()) -> bool:
    """Return whether torch can describe a tensor of this shape, and of these strides if any are given."""
    if len(shape) > MAX_AXES:
        return False
    sizes = [max(size, 1) for size in shape]
    reach = sum((size - 1) * step for size, step in zip(sizes, stride, strict=bool(stride)))
    return max(prod(sizes), reach + 1) * dtype.itemsize <= MAX_BYTES
