"""Reads `.npz`, what `numpy.savez` and chainer's `save_npz` write: a zip archive of arrays.

Arrays of objects, such as a dict of arrays, are interpreted by `models.checkpoints.pickles`: nothing of the file is
imported or called.
"""

import zipfile
from math import prod
from typing import IO, cast

import numpy as np

from models.checkpoints.dtypes import DType, from_numpy
from models.checkpoints.file_tensor import FileBytes, FileTensor, contiguous, is_possible
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.reader import read_pickles
from models.checkpoints.readers.base import MappedFile, ReadResult
from models.checkpoints.readers.object_arrays import number_arrays, unwrap_objects
from models.checkpoints.readers.zip_archive import Member, verified_members
from models.checkpoints.unbuilt import require_tensors
from models.errors import CheckpointError, first_line
from models.npy_header import HEADER_ERRORS, read_header
from models.unpacking import BAD_ZIP

SUFFIX = ".npy"
CHUNK = 1 << 20


def read_npz(file: MappedFile) -> ReadResult:
    """Read the arrays of an archive; those that are stored uncompressed are mapped.

    Raises:
        CheckpointError: damaged, truncated, encrypted, a bomb, or a member that is not a plain array.
    """
    arrays: dict[str, FileTensor | memoryview] = {}
    members = verified_members(file)
    with zipfile.ZipFile(file.stream) as archive:
        for member in members:
            name = member.info.filename.removesuffix(SUFFIX)
            try:
                with archive.open(member.info) as stream:
                    arrays[name] = _array(file, member, name, stream)
            except CheckpointError:
                raise
            except (*BAD_ZIP, *HEADER_ERRORS) as error:
                raise CheckpointError(f"{file.path}: {name} is not a valid array: {first_line(error)}") from error
    if not any(isinstance(array, memoryview) for array in arrays.values()):
        return ReadResult(arrays, "npz")
    return _with_objects(file, arrays)


def _with_objects(file: MappedFile, arrays: dict[str, FileTensor | memoryview]) -> ReadResult:
    """Return the content of an archive of which some arrays are pickles."""
    pickles = {name: array for name, array in arrays.items() if isinstance(array, memoryview)}
    try:
        read = read_pickles(pickles, sum(map(len, pickles.values())))
    except PickleError as error:
        raise CheckpointError(f"{file.path}: not a valid pickle in a .npz file: {error}") from error
    values = cast("dict[str, object]", read.content)
    content: dict[str, object] = {**arrays, **{name: unwrap_objects(value) for name, value in values.items()}}
    (only, *others) = content.values()
    root = number_arrays(cast("object", only)) if isinstance(only, list) and not others else content
    result = ReadResult(root, "npz, pickled", not_built=read.not_built, hazards=read.hazards)
    return require_tensors(file.path, result)


def _array(file: MappedFile, member: Member, name: str, stream: IO[bytes]) -> FileTensor | memoryview:
    """Return an array; of an array of objects, its pickle."""
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject and dtype.fields is None:
        start, length = stream.tell(), member.info.file_size - stream.tell()
        if member.stored:
            return memoryview(file.data)[member.offset + start : member.offset + start + length]
        content = bytearray(length)
        if not _fill(stream, content):
            raise CheckpointError(f"{file.path}: {name} is truncated")
        return memoryview(content)
    if dtype.hasobject or dtype.fields is not None or dtype.kind not in "fiub":
        raise CheckpointError(f"{file.path}: {name} holds {dtype}, not plain numbers")
    little = dtype.newbyteorder("<")
    kind = find_dtype(file, name, dtype)
    length = member.info.file_size - stream.tell()
    order = shape[::-1] if fortran else shape
    if member.stored and little == dtype:
        tensor = file.tensor(name, kind, order, member.offset + stream.tell(), length)
    else:
        fits = all(size >= 0 for size in shape) and is_possible(kind, shape)
        if not fits or prod(shape) * dtype.itemsize != length:
            raise CheckpointError(f"{file.path}: {name} claims the shape {shape} but has {length} bytes")
        content = bytearray(length)
        if not _fill(stream, content):
            raise CheckpointError(f"{file.path}: {name} is truncated")
        tensor = contiguous(kind, order, FileBytes(memoryview(content), big_endian=little != dtype))
    return tensor.transpose() if fortran else tensor


def _fill(stream: IO[bytes], content: bytearray) -> bool:
    """Read until `content` is full, without a second copy; return whether the stream held so much."""
    with memoryview(content) as view:
        filled = 0
        while filled < len(content):
            chunk = stream.read(min(CHUNK, len(content) - filled))
            if not chunk:
                return False
            view[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
    return True


def find_dtype(file: MappedFile, name: str, dtype: np.dtype[np.generic]) -> DType:
    """Return the dtype of the same numbers as one of NumPy.

    Raises:
        CheckpointError: torch has none.
    """
    if (found := from_numpy(dtype)) is None:
        raise CheckpointError(f"{file.path}: {name} holds {dtype}, which torch does not know")
    return found
