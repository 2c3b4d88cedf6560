"""Reads Keras's `.h5`: one HDF5 group per layer, its arrays inside. Only arrays are read; Keras itself is not needed.

A process of its own parses the file (`hdf5_worker`), with limits on its time and memory: the HDF5 library may follow a
damaged file without an end. Arrays in one piece are then mapped from the file, the others from what that process
unpacked into a temporary file.

The model's configuration, which may hold code, is an attribute that nothing looks at. Links are followed only where
they are hard ones within the file: no external or soft link, no reference, no external storage, no virtual dataset.
Arrays are named `<layer>/<array>`, whatever Keras 1, 2 or 3 puts in between: `conv1/conv1/kernel:0` is `conv1/kernel`.
"""

from __future__ import annotations

import importlib.util
import json
import mmap
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from models.checkpoints.contents import MAX_TENSORS
from models.checkpoints.file_tensor import FileTensor
from models.checkpoints.readers.base import MappedFile, ReadResult
from models.checkpoints.readers.npy import find_dtype
from models.errors import CheckpointError, UnavailableError, install_command

MAGIC = b"\x89HDF\r\n\x1a\n"
WHOLE_MODEL = "model_weights/"
"""Where `model.save` keeps what `model.save_weights` puts at the top."""

MAX_DEPTH = 16

WORKER = Path(__file__).with_name("hdf5_worker.py")
SECONDS = 1.0
BYTES_PER_SECOND = 20e6
"""Processor time for parsing: SECONDS, and the time to read and unpack at this rate, a tenth of what gzip reaches."""
WAITING = 60.0, 10.0
"""Seconds of wall time for the start of the process and slow disks, and factor on the processor time."""
MEMORY = 64 << 20
"""Beyond the arrays themselves."""


class _Array(msgspec.Struct):
    path: str
    dtype: str
    shape: tuple[int, ...]
    source: str
    offset: int
    length: int


class _Report(msgspec.Struct):
    arrays: list[_Array] = []
    refused: str = ""
    invalid: str = ""


def is_hdf5(file: MappedFile) -> bool:
    """Return whether the file begins as an HDF5 file does."""
    return file.data[: len(MAGIC)] == MAGIC


def read_keras(file: MappedFile) -> ReadResult:
    """Read the arrays of a Keras file; those that are stored in one piece are mapped.

    Raises:
        CheckpointError: damaged, truncated, links that leave the file, or arrays larger than the file could hold.
        UnavailableError: h5py is not installed.
    """
    if importlib.util.find_spec("h5py") is None:
        raise UnavailableError(f"reading HDF5 needs h5py; {install_command('keras')}")
    with tempfile.TemporaryFile(prefix="c3d-export-") as output:
        report = _parse(file, output)
        if report.refused:
            raise CheckpointError(f"{report.refused}")
        if report.invalid:
            raise CheckpointError(f"not a valid HDF5 file, or truncated: {report.invalid}")
        size = os.fstat(output.fileno()).st_size
        data = mmap.mmap(output.fileno(), size, access=mmap.ACCESS_COPY) if size else file.data
        unpacked = MappedFile(file.path, output, data)
    names = _layer_names([array.path for array in report.arrays])
    tensors = {
        name: _tensor(file if array.source == "file" else unpacked, name, array)
        for name, array in zip(names, report.arrays, strict=True)
    }
    return ReadResult(tensors, "HDF5")


def _parse(file: MappedFile, output: BinaryIO) -> _Report:
    """Parse the file in a process of its own.

    Raises:
        CheckpointError: the process reached a limit, or crashed.
    """
    seconds = SECONDS + file.size / BYTES_PER_SECOND
    memory = MEMORY + file.max_unpacked
    limits = {
        "entries": MAX_TENSORS,
        "depth": MAX_DEPTH,
        "unpacked": file.max_unpacked,
        "memory": memory,
        "seconds": seconds,
        "bytes_per_second": BYTES_PER_SECOND,
    }
    # -S and -P: it imports what this process would, and nothing of its own folder, where modules are called torch
    command = [sys.executable, "-S", "-P", str(WORKER), json.dumps(limits)]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    file.stream.seek(0)
    timeout = WAITING[0] + WAITING[1] * (seconds + file.max_unpacked / BYTES_PER_SECOND)
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter and a script of this package
            command,
            check=False,
            stdin=file.stream,
            stdout=output,
            stderr=subprocess.PIPE,
            env=environment,
            timeout=timeout,
        )
        return msgspec.json.decode(done.stderr.rpartition(b"\n")[2], type=_Report)
    except subprocess.TimeoutExpired as error:
        raise CheckpointError(f"not a valid HDF5 file: parsing it takes over {timeout:.0f} s") from error
    except msgspec.DecodeError as error:
        raise CheckpointError(
            f"not a valid HDF5 file: parsing it crashed, or reached {seconds:.1f} s or {memory >> 20} MiB"
        ) from error


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


def _tensor(file: MappedFile, name: str, array: _Array) -> FileTensor:
    kind = find_dtype(name, np.dtype(array.dtype))
    return file.tensor(name, kind, array.shape, array.offset, array.length)
