"""Reads `.npz`, what `numpy.savez` and chainer's `save_npz` write: a zip archive of arrays.

Arrays of objects, such as a dict of arrays, are interpreted by `models.checkpoints.pickles`: nothing of the file is
imported or called.
"""

import zipfile
from typing import cast

from models.checkpoints.file_tensor import FileTensor
from models.checkpoints.pickles.errors import PickleError
from models.checkpoints.pickles.reader import read_pickles
from models.checkpoints.readers.base import MappedFile, ReadResult
from models.checkpoints.readers.npy import number_arrays, read_array, unwrap_objects
from models.checkpoints.readers.zip_archive import verified_members
from models.checkpoints.unbuilt import require_tensors
from models.errors import CheckpointError, first_line
from models.npy_header import HEADER_ERRORS
from models.unpacking import BAD_ZIP

SUFFIX = ".npy"


def read_npz(file: MappedFile) -> ReadResult:
    """Read the arrays of an archive; those that are stored uncompressed are mapped.

    Raises:
        CheckpointError: damaged, truncated, encrypted, a bomb, or a member that is not a plain array.
    """
    arrays: dict[str, FileTensor | memoryview] = {}
    members = verified_members(file)
    data = memoryview(file.data)
    with zipfile.ZipFile(file.stream) as archive:
        for member in members:
            name, size = member.info.filename.removesuffix(SUFFIX), member.info.file_size
            try:
                with archive.open(member.info) as stream:
                    stored = data[member.offset : member.offset + size] if member.stored else None
                    arrays[name] = read_array(stream, name, size, stored)
            except CheckpointError:
                raise
            except (*BAD_ZIP, *HEADER_ERRORS) as error:
                raise CheckpointError(f"{name} is not a valid array: {first_line(error)}") from error
    pickles = {name: array for name, array in arrays.items() if isinstance(array, memoryview)}
    if not pickles:
        return ReadResult(arrays, "npz")
    try:
        read = read_pickles(pickles, sum(map(len, pickles.values())))
    except PickleError as error:
        raise CheckpointError(f"not a valid pickle in a .npz file: {error}") from error
    values = cast("dict[str, object]", read.content)
    content: dict[str, object] = {**arrays, **{name: unwrap_objects(value) for name, value in values.items()}}
    (only, *others) = content.values()
    root = number_arrays(only) if isinstance(only, list) and not others else content
    return require_tensors(ReadResult(root, "npz, pickled", not_built=read.not_built, hazards=read.hazards))
