"""Reads a `.npy`: one array, or what `numpy.save` pickles, such as a dict of arrays.

The pickle is interpreted by `models.checkpoints.pickles`: nothing of the file is imported or called.
"""

from __future__ import annotations

from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.reader import read_pickle
from models.checkpoints.readers.base import MappedFile, ReadResult
from models.checkpoints.readers.npz import find_dtype
from models.checkpoints.readers.object_arrays import number_arrays, unwrap_objects
from models.checkpoints.unbuilt import require_tensors
from models.errors import CheckpointError, first_line
from models.npy_header import HEADER_ERRORS, read_header

MAGIC = b"\x93NUMPY"


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
        shape, fortran, dtype = read_header(file.stream)
    except HEADER_ERRORS as error:
        raise CheckpointError(f"{file.path}: not a valid .npy file: {first_line(error)}") from error
    start = file.stream.tell()
    if dtype.hasobject and dtype.fields is None:
        return _read_objects(file, start)
    if dtype.fields is not None or dtype.kind not in "fiub" or dtype != dtype.newbyteorder("="):
        raise CheckpointError(f"{file.path}: holds {dtype}, not plain numbers of this machine's byte order")
    order = shape[::-1] if fortran else shape
    tensor = file.tensor("the array", find_dtype(file, "the array", dtype), order, start, file.size - start)
    return ReadResult({"array": tensor.transpose() if fortran else tensor}, "npy")


def _read_objects(file: MappedFile, start: int) -> ReadResult:
    try:
        read = read_pickle(memoryview(file.data)[start:])
    except PickleError as error:
        raise CheckpointError(f"{file.path}: not a valid pickle in a .npy file: {error}") from error
    content = number_arrays(unwrap_objects(read.content))
    result = ReadResult(content, "npy, pickled", not_built=read.not_built, hazards=read.hazards)
    return require_tensors(file.path, result)
