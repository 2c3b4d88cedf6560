"""The user's own inputs: `.npz` files with one row per input, and `.npy` files that hold one input."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from exporter.errors import BadInputError
from exporter.onnx_io.dtypes import numpy_dtype
from exporter.parity.input_checks import require_in_range
from exporter.parity.input_set import Arrays
from exporter.parity.input_types import is_float
from exporter.types import UNKNOWN_RANK
from models.npy_header import HEADER_ERRORS, read_header
from models.paths import require_file
from models.specs import TensorSpec
from models.unpacking import BAD_ZIP, ENCRYPTED, max_unpacked

MAX_ARRAYS = 1000
"""Of a file: more than any model has inputs."""


def read_npz(path: Path, inputs: Sequence[TensorSpec]) -> Arrays:
    """Return {input: array} of an `.npz` file in the inputs' dtypes: by name, or the only array for the only input.

    Raises:
        BadInputError: not such a file, an array is missing, is of another kind than its input, or has numbers that the
            input's dtype does not hold.
    """
    arrays = load_arrays(path, ".npz")
    if len(arrays) == len(inputs) == 1:
        arrays = dict(zip((inputs[0].name,), arrays.values(), strict=True))
    if missing := [value.name for value in inputs if value.name not in arrays]:
        raise BadInputError(f"{path}: has no array called {', '.join(missing)}; it has {', '.join(arrays) or 'none'}")
    return {value.name: _convert(path, value, arrays[value.name]) for value in inputs}


def read_npy(path: Path, spec: TensorSpec) -> NDArray[Any]:
    """Return the array of an `.npy` file in an input's dtype.

    Raises:
        BadInputError: not such a file, or an array of another kind, shape or range than the input.
    """
    (array,) = load_arrays(path, ".npy").values()
    if not shape_fits(array.shape, spec.shape):
        raise BadInputError(f"{path}: has shape {array.shape}; the input is {spec}")
    return _convert(path, spec, array)


def split_rows(
    path: Path,
    arrays: Arrays,
    inputs: Sequence[TensorSpec],
    shapes: Mapping[str, Sequence[int | str]],
    *,
    batched: bool,
) -> list[Arrays]:
    """Return the feeds that a file's arrays hold.

    Args:
        path: the file, for messages.
        arrays: {input: array}, as `read_npz` returns them.
        inputs: the model's inputs.
        shapes: {input: shape of one feed}, where a string stands for any size.
        batched: the first axis of every array is the batch, whose rows are separate inputs. Otherwise an array is one
            whole input, or has one axis more in front, over inputs.

    Raises:
        BadInputError: an array does not fit, or their numbers of rows differ.
    """
    if not batched and all(shape_fits(arrays[value.name].shape, shapes[value.name]) for value in inputs):
        return [arrays]
    counts = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
    if len(counts) != 1 or 0 in counts:
        raise BadInputError(f"{path}: its arrays have different numbers of rows, or none: {sorted(counts)}")
    for value in inputs:
        wanted = shapes[value.name][1:] if batched else shapes[value.name]
        if not shape_fits(arrays[value.name].shape[1:], wanted):
            sizes = ", ".join(map(str, wanted))
            raise BadInputError(f"{path}: {value.name} has shape {arrays[value.name].shape}; expected (rows, {sizes})")
    (count,) = counts
    return [
        {name: array[row : row + 1] if batched else array[row] for name, array in arrays.items()}
        for row in range(count)
    ]


def shape_fits(shape: Sequence[int | str], wanted: Sequence[int | str]) -> bool:
    """Return whether a shape has the wanted sizes, where a string in either stands for any."""
    if UNKNOWN_RANK in wanted:
        return True
    pairs = zip(shape, wanted, strict=False)
    same = all(size == other or isinstance(size, str) or isinstance(other, str) for size, other in pairs)
    return len(shape) == len(wanted) and same


def load_arrays(path: Path, suffix: str) -> Arrays:
    """Return the arrays of an `.npz` file by name, or that of an `.npy` file under an empty name.

    Raises:
        BadInputError: not such a file, or it claims more than it holds.
    """
    size = require_file(path, "file of arrays", BadInputError)
    try:
        with path.open("rb") as stream:
            _check_sizes(stream, suffix, size, max_unpacked(size))
            stream.seek(0)
            loaded: Any = np.load(stream, allow_pickle=False)
            return {"": loaded} if suffix == ".npy" else {name: loaded[name] for name in loaded.files}
    except (AttributeError, *BAD_ZIP) as error:
        reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        raise BadInputError(f"{path}: not an {suffix} file of arrays{reason}") from error


def _check_sizes(stream: BinaryIO, suffix: str, size: int, limit: int) -> None:
    """Refuse what is no array and what claims more bytes than are there, before anything is allocated.

    Args:
        stream: the file.
        suffix: `.npy` or `.npz`.
        size: bytes of the file.
        limit: bytes that the members of an archive may unpack to.

    Raises:
        ValueError: it does. (Of a damaged archive: `BAD_ZIP`.)
    """
    if suffix == ".npy":
        _check_array(stream, size)
        return
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        if len(members) > MAX_ARRAYS:
            raise ValueError(f"it holds {len(members):,} arrays")
        if sum(member.file_size for member in members) > limit:
            raise ValueError("it unpacks to far more than its own size")
        for member in members:
            if member.flag_bits & ENCRYPTED:
                raise ValueError("it is encrypted")
            with archive.open(member) as inner:
                _check_array(cast("BinaryIO", inner), member.file_size)


def _check_array(stream: BinaryIO, size: int) -> None:
    try:
        shape, _, dtype = read_header(stream)
    except HEADER_ERRORS as error:
        raise ValueError("it has no valid header") from error
    if dtype.hasobject or math.prod(shape) * dtype.itemsize > size - stream.tell():
        raise ValueError("it holds objects, or its header claims more data than there is")


def _convert(path: Path, spec: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    """Return an array in an input's dtype, narrow floating-point numbers in float32 (they are rounded when fed)."""
    text = spec.dtype == "string"
    if array.dtype.kind not in ("US" if text else "fiubc"):
        wanted = "text" if text else "numbers"
        raise BadInputError(f"{path}: {spec.name} is not an array of {wanted}: {array.dtype} {array.shape}")
    require_in_range(path, spec, array)
    if text:
        return array.astype(str).astype(object)
    return array.astype(np.float32 if is_float(spec.dtype) and spec.dtype != "float64" else numpy_dtype(spec.dtype))
