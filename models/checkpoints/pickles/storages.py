"""torch's storages and tensors, as a pickle describes them: checked against the file before anything is made of them.

Sources: `torch/_utils.py` (`_rebuild_*`), `torch/serialization.py` (persistent ids), `torch/storage.py` (dtypes).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from models.checkpoints.copying import copy_bytes
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.limits import Budget
from models.checkpoints.pickles.values import Global, printable


def flat_tensor(raw: memoryview, dtype: torch.dtype, budget: Budget, *, big_endian: bool = False) -> Tensor:
    """Return the whole of `raw` as a tensor of one axis; its length must be a multiple of the dtype's size.

    Aligned numbers in this machine's byte order are a view of `raw`, all others are copied once.

    Raises:
        PickleError: the budget does not allow the copy.
    """
    if not raw.nbytes:
        return torch.empty(0, dtype=dtype)
    swapped = dtype.itemsize > 1 and big_endian != (sys.byteorder == "big")
    numbers = np.frombuffer(raw, np.uint8)
    if swapped or raw.readonly or numbers.ctypes.data % dtype.itemsize:
        budget.charge_bytes(raw.nbytes)
        copy = copy_bytes(raw)
        if swapped:
            component = dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize
            copy.numpy().view(f"u{component}").byteswap(inplace=True)
        return copy.view(dtype)
    return torch.from_numpy(numbers).view(dtype)


MAX_AXES = 64
"""torch's own limit."""

_DTYPES = """
float64 double float32 float float16 half bfloat16 int64 long int32 int int16 short int8 uint8 bool
uint16 uint32 uint64 complex128 cdouble complex64 cfloat complex32 chalf
float8_e5m2 float8_e4m3fn float8_e5m2fnuz float8_e4m3fnuz float8_e8m0fnu
"""

DTYPES: dict[str, torch.dtype] = {
    name: dtype for name in _DTYPES.split() if isinstance(dtype := getattr(torch, name, None), torch.dtype)
}
"""{name in the module `torch`: dtype}."""

STORAGES: dict[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "UntypedStorage": torch.uint8,
    "_UntypedStorage": torch.uint8,
    "QInt8Storage": torch.qint8,
    "QInt32Storage": torch.qint32,
    "QUInt8Storage": torch.quint8,
    "QUInt4x2Storage": torch.quint4x2,
    "QUInt2x4Storage": torch.quint2x4,
}
"""{name of a storage's class: its dtype}."""

QUANTISED = frozenset({torch.qint8, torch.qint32, torch.quint8, torch.quint4x2, torch.quint2x4})
"""Dtypes whose numbers mean something with a scale only; they are not read."""

STORAGE_MODULES = frozenset({"torch", "torch.cuda", "torch.storage"})


@dataclass(eq=False)
class StorageData:
    """The bytes of a storage, which several tensors may share.

    Attributes:
        raw: the bytes; None in the legacy format until they were found after the pickle.
        big_endian: whether its numbers are stored so.
        claimed: bytes that the pickle says it has.
        itemsize: bytes of one number, where the file itself counts numbers.
    """

    raw: memoryview | None
    big_endian: bool = False
    claimed: int = 0
    itemsize: int = 1
    _flat: dict[torch.dtype, Tensor] = field(default_factory=dict[torch.dtype, Tensor], repr=False)

    def flat(self, dtype: torch.dtype, budget: Budget) -> Tensor:
        """Return the bytes as a tensor of one axis; the same one for every tensor that shares them."""
        if self.raw is None:
            raise PickleError("the file is truncated: it ends before the values of a storage")
        if dtype not in self._flat:
            whole = self.raw[: len(self.raw) // dtype.itemsize * dtype.itemsize]
            self._flat[dtype] = flat_tensor(whole, dtype, budget, big_endian=self.big_endian)
        return self._flat[dtype]


@dataclass(eq=False)
class Storage:
    """A storage as a tensor refers to it: `count` numbers of `dtype`, from `offset` on (in numbers)."""

    data: StorageData
    dtype: torch.dtype
    count: int
    offset: int = 0

    def resolve(self, budget: Budget) -> Tensor | None:
        """Return it as a tensor of one axis; None for quantised numbers."""
        if self.dtype in QUANTISED:
            return None
        return self.data.flat(self.dtype, budget)[self.offset : self.offset + self.count]


@dataclass(eq=False)
class TensorValue:
    """A tensor: where its values are in a storage; without a storage it has a shape only (torch's meta device)."""

    storage: Storage | None
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    conjugate: bool = False
    negative: bool = False
    _tensor: Tensor | None = field(default=None, repr=False)

    def resolve(self, budget: Budget) -> Tensor:
        """Return the tensor, a view of its storage."""
        if self._tensor is None:
            self._tensor = self._make(budget)
        return self._tensor

    def _make(self, budget: Budget) -> Tensor:
        try:
            if self.storage is None:
                return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device="meta")
            flat = self.storage.data.flat(self.dtype, budget)
            tensor = torch.as_strided(flat, self.shape, self.stride, self.storage.offset + self.offset)
        except RuntimeError as error:
            raise PickleError(f"a tensor of shape {self.shape} is beyond what torch can describe") from error
        if self.conjugate:
            tensor = tensor.conj()
        return cast("Any", torch)._neg_view(tensor) if self.negative else tensor


def storage_dtype(storage_type: object) -> torch.dtype:
    """Return the dtype that a storage's class names.

    Raises:
        PickleError: it is no class of a storage.
    """
    if isinstance(storage_type, Global) and storage_type.module in STORAGE_MODULES and storage_type.name in STORAGES:
        return STORAGES[storage_type.name]
    shown = storage_type.display_name if isinstance(storage_type, Global) else f"a {type(storage_type).__name__}"
    raise PickleError(f"a storage's class is {shown}, which torch does not have")


def make_tensor(
    storage: object, offset: object, shape: object, stride: object, dtype: torch.dtype | None = None
) -> TensorValue | None:
    """Return the tensor that a pickle describes; None for quantised numbers.

    Args:
        storage: where its values are.
        offset: of its first value, in numbers.
        shape: its sizes.
        stride: numbers from one index of each axis to the next; 0 where one value is repeated.
        dtype: if not the storage's.

    Raises:
        PickleError: it is not within its storage, or what describes it is of another type.
    """
    if not isinstance(storage, Storage):
        raise PickleError(f"a tensor's storage is a {type(storage).__name__}")
    sizes, steps = as_sizes(shape), as_sizes(stride)
    if type(offset) is not int or offset < 0 or len(sizes) != len(steps):
        raise PickleError(f"a tensor of shape {shown_sizes(sizes)} has an impossible offset or stride")
    if storage.dtype in QUANTISED:
        return None
    count = storage.count
    if dtype is None or dtype == storage.dtype:
        dtype = storage.dtype
    else:
        count = count * storage.dtype.itemsize // dtype.itemsize
        if storage.offset * storage.dtype.itemsize % dtype.itemsize:
            raise PickleError("a tensor begins in the middle of a number")
        storage = Storage(storage.data, dtype, count, storage.offset * storage.dtype.itemsize // dtype.itemsize)
    last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    if 0 not in sizes and last >= count:
        raise PickleError(f"a tensor of shape {shown_sizes(sizes)} reaches beyond its storage of {count} numbers")
    return TensorValue(storage, dtype, offset if 0 not in sizes else 0, sizes, steps)


def as_sizes(value: object) -> tuple[int, ...]:
    """Return sizes or strides.

    Raises:
        PickleError: they are not a few integers from 0 to 2**63 - 1.
    """
    if isinstance(value, list):
        sizes = cast("list[object]", value)
        if len(sizes) <= MAX_AXES and all(type(size) is int and 0 <= size < 1 << 63 for size in sizes):
            return tuple(cast("list[int]", sizes))
    raise PickleError("a tensor's shape or stride is no list of sizes")


def shown_sizes(sizes: tuple[int, ...]) -> str:
    """Return sizes for display, of a bounded length."""
    return printable(str(sizes))
