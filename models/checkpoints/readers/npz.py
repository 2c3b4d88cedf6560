"""Reads `.npz`, what `numpy.savez` and chainer's `save_npz` write: a zip archive of arrays. None is unpickled."""

import zipfile
from typing import IO

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from models.checkpoints.readers.base import MappedFile, ReadResult
from models.checkpoints.readers.zip_archive import BAD_ZIP, Member, verified_members
from models.errors import CheckpointError

SUFFIX = ".npy"
CHUNK = 1 << 20


def read_npz(file: MappedFile) -> ReadResult:
    """Read the arrays of an archive; those that are stored uncompressed are mapped.

    Raises:
        CheckpointError: damaged, truncated, encrypted, a bomb, or a member that is not a plain array.
    """
    tensors: dict[str, Tensor] = {}
    members = verified_members(file)
    with zipfile.ZipFile(file.stream) as archive:
        for member in members:
            name = member.info.filename.removesuffix(SUFFIX)
            try:
                with archive.open(member.info) as stream:
                    tensors[name] = _array(file, member, name, stream)
            except CheckpointError:
                raise
            except (*BAD_ZIP, TypeError, OverflowError, SyntaxError, RecursionError, MemoryError) as error:
                first = (str(error).splitlines() or [type(error).__name__])[0]
                raise CheckpointError(f"{file.path}: {name} is not a valid array: {first}") from error
    return ReadResult(tensors, "npz")


def _array(file: MappedFile, member: Member, name: str, stream: IO[bytes]) -> Tensor:
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject or dtype.fields is not None or dtype.kind not in "fiub":
        raise CheckpointError(f"{file.path}: {name} holds {dtype}, not plain numbers; nothing is unpickled")
    native = dtype.newbyteorder("=")
    length = member.info.file_size - stream.tell()
    order = shape[::-1] if fortran else shape
    if member.stored and native == dtype:
        tensor = file.tensor(name, torch_dtype(file, name, native), order, member.offset + stream.tell(), length)
    else:
        if any(size < 0 for size in shape) or int(np.prod(shape, dtype=object)) * dtype.itemsize != length:
            raise CheckpointError(f"{file.path}: {name} claims the shape {shape} but has {length} bytes")
        content = bytearray(length)
        if not _fill(stream, content):
            raise CheckpointError(f"{file.path}: {name} is truncated")
        values = np.frombuffer(content, dtype).astype(native, copy=False)
        tensor = torch.from_numpy(values.reshape(order))
    return tensor.permute(*reversed(range(tensor.dim()))) if fortran else tensor


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Read the header of a `.npy`: shape, whether it is in Fortran's order, and dtype."""
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    return read(stream)


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


def torch_dtype(file: MappedFile, name: str, dtype: np.dtype[np.generic]) -> torch.dtype:
    """Return torch's name of a numpy dtype.

    Raises:
        CheckpointError: torch has none.
    """
    try:
        return torch.from_numpy(np.empty(0, dtype)).dtype
    except TypeError as error:
        raise CheckpointError(f"{file.path}: {name} holds {dtype}, which torch does not know") from error
