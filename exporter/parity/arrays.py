"""The user's own inputs: `.npz` files with one row per input."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import BadInputError
from exporter.types import UNKNOWN_RANK
from models.specs import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]


def read_rows(path: Path, inputs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Return {input: rows} of an `.npz` file in the inputs' dtypes: by name, or the only array for the only input.

    Args:
        path: the file.
        inputs: the model's inputs.
        shapes: {input: shape with the batch} where it is narrower than the model's own.

    Raises:
        BadInputError: not such a file, an array is missing or does not fit, or their numbers of rows differ.
    """
    arrays = _read_npz(path, [value.name for value in inputs])
    counts = {len(values) for values in arrays.values()}
    if len(counts) != 1 or 0 in counts:
        raise BadInputError(f"{path}: its arrays have different numbers of rows, or none: {sorted(counts)}")
    for value in inputs:
        array, shape = arrays[value.name], shapes.get(value.name, value.shape)
        if not shape_fits(array.shape[1:], shape[1:]):
            sizes = ", ".join(map(str, shape[1:]))
            raise BadInputError(f"{path}: {value.name} has shape {array.shape}; expected (rows, {sizes})")
        arrays[value.name] = array.astype(np.float32 if "float" in value.dtype else value.dtype)
    return arrays


def shape_fits(shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> bool:
    """Return whether a shape has the wanted sizes, where a string stands for any."""
    if UNKNOWN_RANK in wanted:
        return True
    same = all(size == other or isinstance(other, str) for size, other in zip(shape, wanted, strict=False))
    return len(shape) == len(wanted) and same


def _read_npz(path: Path, names: Sequence[str]) -> Arrays:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays: Arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise BadInputError(f"no such file: {path}") from error
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        raise BadInputError(f"{path}: not an .npz file of arrays{reason}") from error
    if len(arrays) == len(names) == 1:
        arrays = dict(zip(names, arrays.values(), strict=True))
    if missing := [name for name in names if name not in arrays]:
        raise BadInputError(f"{path}: has no array called {', '.join(missing)}; it has {', '.join(arrays) or 'none'}")
    for name in names:
        if arrays[name].ndim < 1 or arrays[name].dtype.kind not in "fiub":
            raise BadInputError(f"{path}: {name} is not an array of numbers: {arrays[name].dtype} {arrays[name].shape}")
    return {name: arrays[name] for name in names}
