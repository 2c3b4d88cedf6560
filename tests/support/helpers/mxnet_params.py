"""Writes MXNet's parameter files from the format's description (src/ndarray/ndarray.cc), without the code under test."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
FLAGS = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int8": 5, "int64": 6, "bool": 7, "int16": 8}

Values = NDArray[np.generic]


def array_bytes(values: "NDArray[Any]", version: int = V2, flag: int | None = None, storage: int = 0) -> bytes:
    """Return an array as NDArray::Save writes it; version 0 is the format before V1."""
    axes = struct.pack(f"<i{values.ndim}q", values.ndim, *values.shape)
    if version == 0:
        head = struct.pack(f"<I{values.ndim}I", values.ndim, *values.shape)
    elif version == V1:
        head = struct.pack("<I", version) + axes
    else:
        head = struct.pack("<Ii", version, storage) + axes
    if values.ndim == 0 and version != V3:
        return head
    kind = FLAGS[str(values.dtype)] if flag is None else flag
    return head + struct.pack("<iii", 1, 0, kind) + values.tobytes()


def write_list(path: Path, arrays: Sequence[bytes], names: Sequence[str]) -> Path:
    """Write the list of arrays and the list of names."""
    with path.open("wb") as stream:
        stream.write(struct.pack("<QQQ", 0x112, 0, len(arrays)))
        stream.writelines(arrays)
        stream.write(struct.pack("<Q", len(names)))
        stream.writelines(struct.pack("<Q", len(name.encode())) + name.encode() for name in names)
    return path


def write_params(path: Path, arrays: "Mapping[str, NDArray[Any]]") -> Path:
    """Write named arrays, as Gluon's save_parameters does."""
    return write_list(path, [array_bytes(values) for values in arrays.values()], list(arrays))
