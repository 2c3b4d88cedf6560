"""Reads Keras's `.h5`: one HDF5 group per layer, its arrays inside. Only arrays are read; Keras itself is not needed.

The model's configuration, which may hold code, is an attribute that nothing looks at. Links are followed only where
they are hard ones within the file: no external or soft link, no reference, no external storage, no virtual dataset.
Arrays are named `<layer>/<array>`, whatever Keras 1, 2 or 3 puts in between: `conv1/conv1/kernel:0` is `conv1/kernel`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from models.checkpoints.readers.base import MAX_TENSORS, MappedFile, ReadResult
from models.checkpoints.readers.npz import torch_dtype
from models.errors import CheckpointError, UnavailableError

if TYPE_CHECKING:
    import h5py

MAGIC = b"\x89HDF\r\n\x1a\n"
WHOLE_MODEL = "model_weights/"
"""Where `model.save` keeps what `model.save_weights` puts at the top."""

MAX_DEPTH = 16


def is_hdf5(file: MappedFile) -> bool:
    """Return whether the file begins as an HDF5 file does."""
    return file.data[: len(MAGIC)] == MAGIC


def read_keras(file: MappedFile) -> ReadResult:
    """Read the arrays of a Keras file; those that are stored in one piece are mapped.

    Raises:
        CheckpointError: damaged, truncated, links that leave the file, or arrays larger than the file could hold.
        UnavailableError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise UnavailableError(f"{file.path}: reading HDF5 needs h5py; pip install 'c3d-export[keras]'") from error
    file.stream.seek(0)
    try:
        with h5py.File(file.stream, "r") as opened:
            found = [(path, dataset) for path, dataset in _datasets(file, opened)]
            names = _layer_names([path for path, _ in found])
            unpacked = sum(dataset.nbytes for _, dataset in found)
            if unpacked > file.max_unpacked:
                raise CheckpointError(f"{file.path}: claims {unpacked} bytes of arrays, far more than its own size")
            tensors = {name: _tensor(file, name, dataset) for name, (_, dataset) in zip(names, found, strict=True)}
    except (CheckpointError, UnavailableError):
        raise
    except Exception as error:  # the HDF5 library raises many classes for damaged files
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{file.path}: not a valid HDF5 file, or truncated: {first}") from error
    return ReadResult(tensors, "HDF5")


def _datasets(file: MappedFile, opened: h5py.File) -> Iterator[tuple[str, Any]]:
    """Walk over the arrays of the file, by hard links only; each group is entered once, so that cycles end."""
    import h5py

    waiting: list[tuple[str, Any, int]] = [("", opened, 0)]
    entered: set[int] = set()
    count = 0
    while waiting:
        prefix, group, depth = waiting.pop()
        address = cast("Any", h5py).h5o.get_info(group.id).addr
        if address in entered or depth > MAX_DEPTH:
            raise CheckpointError(f"{file.path}: group {prefix or '/'} holds itself, or nests too deeply")
        entered.add(address)
        for key in group:
            path = f"{prefix}{key}"
            count += 1
            if count > MAX_TENSORS:
                raise CheckpointError(f"{file.path}: more than {MAX_TENSORS} groups and arrays")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise CheckpointError(f"{file.path}: {path} is a link to elsewhere, and is not followed")
            member = group[key]
            if isinstance(member, h5py.Group):
                waiting.append((f"{path}/", member, depth + 1))
            elif isinstance(member, h5py.Dataset):
                if member.external or member.is_virtual:
                    raise CheckpointError(f"{file.path}: {path} keeps its values in another file")
                yield path, member


def _layer_names(paths: list[str]) -> list[str]:
    """Return `<layer>/<array>` for each path; whole paths where two would be called the same.

    Keras 3's `.weights.h5` (`layers/conv3d/vars/0`) keeps its paths: its layers are not at the top.
    """
    split = [path.removeprefix(WHOLE_MODEL).split("/") for path in paths]
    short = [
        "/".join(parts) if len(parts) == 1 or parts[0] == "layers" else f"{parts[0]}/{parts[-1].removesuffix(':0')}"
        for parts in split
    ]
    return short if len(set(short)) == len(short) else paths


def _tensor(file: MappedFile, name: str, dataset: Any) -> Tensor:
    dtype: np.dtype[np.generic] = dataset.dtype
    if dtype.kind not in "fiub" or dtype.fields is not None or dataset.shape is None:
        raise CheckpointError(f"{file.path}: {name} holds {dtype}, not plain numbers")
    native = dtype.newbyteorder("=")
    kind = torch_dtype(file, name, native)
    offset = dataset.id.get_offset()
    if offset is not None and native == dtype and not dataset.id.get_create_plist().get_nfilters():
        return file.tensor(name, kind, dataset.shape, offset, dataset.nbytes)
    return torch.from_numpy(np.array(dataset[()], dtype=native, order="C"))
