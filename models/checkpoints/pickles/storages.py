"""torch's storages and tensors, as a pickle describes them: checked against the file before anything is made of them.

Sources: `torch/_utils.py` (`_rebuild_*`), `torch/serialization.py` (persistent ids), `torch/storage.py` (dtypes).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from models.checkpoints.dtypes import DTYPES, QUANTISED, UINT8, DType
from models.checkpoints.file_tensor import MAX_AXES, FileBytes, FileTensor, is_possible
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.limits import Budget
from models.checkpoints.pickles.values import Global, printable

STORAGES = {
    "DoubleStorage": DTYPES["float64"],
    "FloatStorage": DTYPES["float32"],
    "HalfStorage": DTYPES["float16"],
    "BFloat16Storage": DTYPES["bfloat16"],
    "LongStorage": DTYPES["int64"],
    "IntStorage": DTYPES["int32"],
    "ShortStorage": DTYPES["int16"],
    "CharStorage": DTYPES["int8"],
    "ByteStorage": UINT8,
    "BoolStorage": DTYPES["bool"],
    "ComplexDoubleStorage": DTYPES["complex128"],
    "ComplexFloatStorage": DTYPES["complex64"],
    "UntypedStorage": UINT8,
    "_UntypedStorage": UINT8,
    "QInt8Storage": QUANTISED["qint8"],
    "QInt32Storage": QUANTISED["qint32"],
    "QUInt8Storage": QUANTISED["quint8"],
    "QUInt4x2Storage": QUANTISED["quint4x2"],
    "QUInt2x4Storage": QUANTISED["quint2x4"],
}
"""{name of a storage's class: its dtype}."""

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
    _data: FileBytes | None = field(default=None, repr=False)
    _charged: set[DType] = field(default_factory=set[DType], repr=False)

    def resolve(self, dtype: DType, budget: Budget) -> FileBytes:
        """Return the bytes, the same ones for every tensor that shares them.

        Raises:
            PickleError: the file ends before them, or the budget does not allow the copy that torch needs.
        """
        if self.raw is None:
            raise PickleError("the file is truncated: it ends before the values of a storage")
        if self._data is None:
            self._data = FileBytes(self.raw, self.big_endian)
        if dtype not in self._charged:
            charge_copy(self._data, dtype, budget)
            self._charged.add(dtype)
        return self._data


def charge_copy(data: FileBytes, dtype: DType, budget: Budget) -> None:
    """Count the copy of bytes that torch cannot use where they are.

    Raises:
        PickleError: the budget does not allow it.
    """
    if data.must_copy(dtype):
        budget.charge_bytes(data.raw.nbytes)


@dataclass(eq=False)
class Storage:
    """A storage as a tensor refers to it: `count` numbers of `dtype`, from `offset` on (in numbers)."""

    data: StorageData
    dtype: DType
    count: int
    offset: int = 0

    def resolve(self, budget: Budget) -> FileTensor | None:
        """Return it as a tensor of one axis; None for quantised numbers."""
        if self.dtype.quantised:
            return None
        return FileTensor(self.dtype, (self.count,), (1,), self.data.resolve(self.dtype, budget), self.offset)


@dataclass(eq=False)
class TensorValue:
    """A tensor: where its values are in a storage; without a storage it has a shape only (torch's meta device)."""

    storage: Storage | None
    dtype: DType
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    conjugate: bool = False
    negative: bool = False

    def resolve(self, budget: Budget) -> FileTensor:
        """Return the tensor.

        Raises:
            PickleError: torch cannot describe it, the file ends before its values, or the budget does not allow a copy.
        """
        if not is_possible(self.dtype, self.shape, self.stride):
            raise PickleError(f"a tensor of shape {shown_sizes(self.shape)} is beyond what torch can describe")
        data, offset = None, self.offset
        if self.storage is not None:
            data, offset = self.storage.data.resolve(self.dtype, budget), self.storage.offset + self.offset
        return FileTensor(self.dtype, self.shape, self.stride, data, offset, self.conjugate, self.negative)


def storage_dtype(storage_type: object) -> DType:
    """Return the dtype that a storage's class names.

    Raises:
        PickleError: it is no class of a storage.
    """
    if isinstance(storage_type, Global) and storage_type.module in STORAGE_MODULES and storage_type.name in STORAGES:
        return STORAGES[storage_type.name]
    shown = storage_type.display_name if isinstance(storage_type, Global) else f"a {type(storage_type).__name__}"
    raise PickleError(f"a storage's class is {shown}, which torch does not have")


def make_tensor(
    storage: object, offset: object, shape: object, stride: object, dtype: DType | None = None
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
    if storage.dtype.quantised:
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
