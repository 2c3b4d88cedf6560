"""Reads MXNet's `.params`, as Gluon's save_parameters, Block.export, Module.save_checkpoint and nd.save write it.

    file      uint64 0x112, uint64 reserved, uint64 count, count arrays, uint64 count, count names
    name      uint64 length, the characters: `conv1.weight`, `c3d0_conv0_weight`, `arg:…` or `aux:…`
    array     uint32 version, int32 storage (not in V1), shape, context, int32 type flag, the numbers
    shape     int32 number of axes, int64 sizes; before V1 the version is the number of axes, and sizes are uint32
    context   int32 device type, int32 device number
An array whose shape has no axes has nothing after it; in V3 (NumPy's semantics) a scalar has no axes, and an array
without a shape has -1. All numbers are little-endian. Arrays are mapped; MXNet is not needed, and nothing is executed.

Sources: apache/mxnet, src/ndarray/ndarray.cc (NDArray::Save, Load, LegacyLoad); include/mxnet/tuple.h (Tuple::Save);
include/mxnet/base.h (Context::Save); 3rdparty/mshadow/mshadow/base.h (TypeFlag); dmlc-core, include/dmlc/serializer.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod

from models.checkpoints import dtypes
from models.checkpoints.contents import MAX_TENSORS
from models.checkpoints.file_tensor import FileTensor
from models.checkpoints.readers.base import MappedFile, ReadResult
from models.errors import CheckpointError

MAGIC = (0x112).to_bytes(8, "little")
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
MAX_AXES = 32
MAX_NAME = 1 << 10

STORAGE = {0: "dense", 1: "row-sparse", 2: "CSR"}
NUMBERED = ("float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool", "int16")
DTYPES = {flag: dtypes.DTYPES[name] for flag, name in enumerate(NUMBERED)} | {12: dtypes.BFLOAT16}
"""{type flag: dtype}; 9, 10 and 11 are unsigned integers of two, four and eight bytes."""

GROUPS = ("arg:", "aux:")
"""Prefixes of parameters and of running statistics in what Module and Block.export write."""


def is_mxnet(file: MappedFile) -> bool:
    """Return whether the file begins as MXNet's list of arrays does."""
    return file.data[: len(MAGIC)] == MAGIC


def read_mxnet(file: MappedFile) -> ReadResult:
    """Read the arrays of a parameter file under their names; those of a list without names are called `0`, `1`, ….

    Raises:
        CheckpointError: not such a file, truncated, sparse arrays, or an element type that torch does not have.
    """
    if not is_mxnet(file):
        raise CheckpointError("not a parameter file of MXNet")
    cursor = _Cursor(file, 2 * len(MAGIC))
    arrays = [_read_array(cursor) for _ in range(cursor.count("arrays"))]
    names = [cursor.name() for _ in range(cursor.count("names"))] or [str(n) for n in range(len(arrays))]
    if len(names) != len(arrays):
        raise CheckpointError(f"has names for {len(names)} of its {len(arrays)} arrays")
    tensors: dict[str, FileTensor] = {}
    for full, array in zip(names, arrays, strict=True):
        name = full[4:] if full.startswith(GROUPS) else full
        if name in tensors:
            raise CheckpointError(f"two arrays are named {name}")
        if array is not None:
            tensors[name] = array.tensor(file, name)
    return ReadResult(tensors, "MXNet parameters")


@dataclass
class _Cursor:
    """A position in the file; every read is checked against its end."""

    file: MappedFile
    at: int

    def numbers(self, layout: str) -> tuple[int, ...]:
        """Return the little-endian numbers of a struct layout."""
        size = struct.calcsize(f"<{layout}")
        self.skip(size)
        return struct.unpack_from(f"<{layout}", self.file.data, self.at - size)

    def skip(self, length: int) -> None:
        if self.at + length > self.file.size:
            raise CheckpointError("not a valid parameter file of MXNet, or truncated")
        self.at += length

    def count(self, what: str) -> int:
        (count,) = self.numbers("Q")
        if count > MAX_TENSORS:
            raise CheckpointError(f"claims {count} {what}: more than {MAX_TENSORS}")
        return count

    def name(self) -> str:
        (length,) = self.numbers("Q")
        if length > MAX_NAME:
            raise CheckpointError(f"claims a name of {length} characters")
        self.skip(length)
        return self.file.data[self.at - length : self.at].decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class _Array:
    """Where an array's numbers are; an unsupported one is only refused when its name is known, too."""

    shape: tuple[int, ...]
    flag: int
    offset: int

    def tensor(self, file: MappedFile, name: str) -> FileTensor:
        dtype = DTYPES[self.flag]
        return file.tensor(name, dtype, self.shape, self.offset, prod(self.shape) * dtype.itemsize)


def _read_array(cursor: _Cursor) -> _Array | None:
    """Read one array's header and pass over its numbers; None for an array that was never given a shape."""
    (version,) = cursor.numbers("I")
    if version in (V2, V3):
        (storage,) = cursor.numbers("i")
        if storage != 0:
            kind = STORAGE.get(storage, f"unknown ({storage})")
            raise CheckpointError(f"holds an array of {kind} storage; save it dense, by tostype('default')")
    legacy = version not in (V1, V2, V3)
    axes = version if legacy else cursor.numbers("i")[0]
    if not -1 <= axes <= MAX_AXES:
        raise CheckpointError(f"not a valid parameter file of MXNet: an array of {axes} axes")
    if axes < 0 or (axes == 0 and version != V3):
        return None
    shape = cursor.numbers(f"{axes}{'I' if legacy else 'q'}")
    if any(size < 0 for size in shape):
        if version == V3 and all(size >= -1 for size in shape):
            return None  # its shape was not known yet
        raise CheckpointError(f"not a valid parameter file of MXNet: an array of shape {shape}")
    *_, flag = cursor.numbers("iii")
    if flag not in DTYPES:
        raise CheckpointError(f"holds an array of MXNet's type {flag}; weights must be floats")
    found = _Array(shape, flag, cursor.at)
    cursor.skip(prod(shape) * DTYPES[flag].itemsize)
    return found
