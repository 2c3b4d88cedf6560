"""Reads a `.npy`: one array, or what `numpy.save` pickles, such as a dict of arrays.

The pickle is interpreted by `models.checkpoints.pickles`: nothing of the file is imported or called.
"""

from __future__ import annotations

from typing import IO, cast

import numpy as np

from models.checkpoints.contents import NotBuilt
from models.checkpoints.dtypes import DType, from_numpy
from models.checkpoints.file_tensor import FileBytes, FileTensor, contiguous
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.reader import read_pickle
from models.checkpoints.readers.base import MappedFile, ReadResult, check_shape
from models.checkpoints.unbuilt import require_tensors
from models.errors import CheckpointError, first_line
from models.npy_header import HEADER_ERRORS, read_header

MAGIC = b"\x93NUMPY"
OBJECTS = "numpy.ndarray"
"""What the pickle of an array of objects makes."""
CHUNK = 1 << 20


def is_npy(file: MappedFile) -> bool:
    """Return whether the file begins as NumPy's format does."""
    return file.data[: len(MAGIC)] == MAGIC


def read_npy(file: MappedFile) -> ReadResult:
    """Read a file of `numpy.save`; the content of an object array of one element is that element.

    Raises:
        CheckpointError: damaged, truncated, or without numbers.
    """
    file.stream.seek(0)
    try:
        array = read_array(file.stream, "the array", file.size, memoryview(file.data))
    except HEADER_ERRORS as error:
        raise CheckpointError(f"not a valid .npy file: {first_line(error)}") from error
    if isinstance(array, FileTensor):
        return ReadResult({"array": array}, "npy")
    try:
        read = read_pickle(array)
    except PickleError as error:
        raise CheckpointError(f"not a valid pickle in a .npy file: {error}") from error
    content = number_arrays(unwrap_objects(read.content))
    return require_tensors(ReadResult(content, "npy, pickled", not_built=read.not_built, hazards=read.hazards))


def read_array(stream: IO[bytes], name: str, size: int, stored: memoryview | None) -> FileTensor | memoryview:
    """Return an array; of an array of objects, its pickle.

    Args:
        stream: what `numpy.save` wrote, from its start.
        name: of the array, for messages.
        size: bytes of the whole.
        stored: the whole as the file has it, mapped; None where it is compressed.

    Raises:
        CheckpointError: it holds no plain numbers, or not those of its shape; nothing is allocated before.
        ValueError: an invalid header; or another of `HEADER_ERRORS`.
    """
    shape, fortran, dtype = read_header(stream)
    start = stream.tell()
    if dtype.hasobject and dtype.fields is None:
        return _read_rest(stream, name, start, size) if stored is None else stored[start:]
    if dtype.hasobject or dtype.fields is not None or dtype.kind not in "fiub":
        raise CheckpointError(f"{name} holds {dtype}, not plain numbers")
    found = find_dtype(name, dtype)
    check_shape(name, found, shape, size - start)
    raw = _read_rest(stream, name, start, size) if stored is None else stored[start:]
    data = FileBytes(raw, big_endian=dtype != dtype.newbyteorder("<"))
    tensor = contiguous(found, shape[::-1] if fortran else shape, data)
    return tensor.transpose() if fortran else tensor


def _read_rest(stream: IO[bytes], name: str, start: int, size: int) -> memoryview:
    """Read from `start` to `size`, without a second copy."""
    content = memoryview(bytearray(size - start))
    filled = 0
    while filled < len(content):
        chunk = stream.read(min(CHUNK, len(content) - filled))
        if not chunk:
            raise CheckpointError(f"{name} is truncated")
        content[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    return content


def find_dtype(name: str, dtype: np.dtype[np.generic]) -> DType:
    """Return the dtype of the same numbers as one of NumPy.

    Raises:
        CheckpointError: torch has none.
    """
    if (found := from_numpy(dtype)) is None:
        raise CheckpointError(f"{name} holds {dtype}, which torch does not know")
    return found


def unwrap_objects(content: object) -> object:
    """Return the elements of an object array, as a list; of an array of one element, that element."""
    if isinstance(content, NotBuilt) and content.name == OBJECTS and content.parts:
        content = content.parts[-1]  # the list of its elements
    while isinstance(content, list) and len(items := cast("list[object]", content)) == 1:
        content = items[0]
    return content


def number_arrays(content: object) -> object:
    """Return a plain list of arrays, such as Lasagne's, under the names that `numpy.savez` gives it."""
    items = cast("list[object]", content) if isinstance(content, list) else []
    if items and all(isinstance(item, FileTensor) for item in items):
        return {f"arr_{index}": item for index, item in enumerate(items)}
    return content
