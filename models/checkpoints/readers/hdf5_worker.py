"""The process that parses an HDF5 file for `models.checkpoints.readers.keras`: run as a script, within limits.

On damaged files, the HDF5 library may never return: after one flipped bit it can parse the same table for ever while
its memory grows, and no exception or signal handler of Python reaches it. So files are parsed in a separate process,
whose processor time and memory the system limits. It imports h5py and NumPy only, and nothing of this project.

    standard input    the HDF5 file
    standard output   the values of arrays that are compressed, in chunks, or of another byte order, one after another
    standard error    the last line is a JSON object: {"arrays": [...]}, {"refused": "why"} or {"invalid": "why"}
    argument          a JSON object with the limits, see `Limits`

An array in one piece is only named, by its offset in the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Literal, cast

import h5py
import numpy as np

ALIGNMENT = 64
MAX_PATH = 1 << 12


@dataclass(frozen=True)
class Limits:
    """What parsing may take.

    Attributes:
        entries: groups and arrays.
        depth: levels of groups.
        unpacked: bytes of all arrays.
        memory: bytes beyond what the process has at the start.
        seconds: of processor time, before the size of the arrays is known.
        bytes_per_second: with which the time to unpack them is estimated.
    """

    entries: int
    depth: int
    unpacked: int
    memory: int
    seconds: float
    bytes_per_second: float


@dataclass(frozen=True)
class Array:
    """An array: where its bytes are.

    Attributes:
        path: its path in the file.
        dtype: NumPy's, as `dtype.str`.
        shape: its shape.
        source: `file`, or `output` if the bytes were written to standard output.
        offset: where they start.
        length: how many there are.
    """

    path: str
    dtype: str
    shape: tuple[int, ...]
    source: Literal["file", "output"]
    offset: int
    length: int


class RefusedError(Exception):
    """The file is valid, but not read."""


def limit_memory(count: int) -> None:
    """Limit the memory that this process may take from now on, where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123 - pathlib is one import more
            now = int(stream.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + count, now + count))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_time(seconds: float) -> None:
    """End this process, even inside a C function, after `seconds` more of processor time, where the system can."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def read_arrays(opened: h5py.File, output: BinaryIO, limits: Limits) -> list[Array]:
    """Return all arrays of a file; the values of those that are not in one piece go to `output`.

    Raises:
        RefusedError: links that leave the file, arrays that are not numbers, or more than the limits allow.
    """
    found = list(find_datasets(opened, limits))
    unpacked = sum(dataset.nbytes for _, dataset in found)
    if unpacked > limits.unpacked:
        raise RefusedError(f"claims {unpacked} bytes of arrays, far more than its own size")
    limit_time(limits.seconds + unpacked / limits.bytes_per_second)
    arrays: list[Array] = []
    written = 0
    for path, dataset in found:
        array = locate(path, dataset, written)
        if array.source == "output":
            values = np.array(dataset[()], dtype=np.dtype(array.dtype), order="C")
            output.write(values.reshape(-1).view(np.uint8).data)
            output.write(bytes(-array.length % ALIGNMENT))
            written += array.length + -array.length % ALIGNMENT
        arrays.append(array)
    return arrays


def locate(path: str, dataset: Any, written: int) -> Array:
    """Return where an array's bytes are: in the file, or next in the output.

    Raises:
        RefusedError: it does not hold plain numbers.
    """
    dtype: np.dtype[np.generic] = dataset.dtype
    if dtype.kind not in "fiub" or dtype.fields is not None or dataset.shape is None:
        raise RefusedError(f"{path} holds {dtype}, not plain numbers")
    native = dtype.newbyteorder("=")
    offset = dataset.id.get_offset()
    length = int(dataset.size) * native.itemsize
    if offset is not None and native == dtype and not dataset.id.get_create_plist().get_nfilters():
        return Array(path, native.str, tuple(dataset.shape), "file", int(offset), length)
    return Array(path, native.str, tuple(dataset.shape), "output", written, length)


def find_datasets(opened: h5py.File, limits: Limits) -> Iterator[tuple[str, Any]]:
    """Walk over the arrays of the file, by hard links only; each group is entered once, so that cycles end."""
    waiting: list[tuple[str, Any, int]] = [("", opened, 0)]
    entered: set[int] = set()
    count = 0
    while waiting:
        prefix, group, depth = waiting.pop()
        address = cast("Any", h5py).h5o.get_info(group.id).addr
        if address in entered or depth > limits.depth:
            raise RefusedError(f"group {prefix or '/'} holds itself, or nests too deeply")
        entered.add(address)
        for key in group:
            path = f"{prefix}{key}"
            count += 1
            if count > limits.entries or len(path) > MAX_PATH:
                raise RefusedError(
                    f"has more than {limits.entries} groups and arrays, or a path of {MAX_PATH} characters"
                )
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise RefusedError(f"{path} is a soft or external link; links are not followed")
            member = group[key]
            if isinstance(member, h5py.Group):
                waiting.append((f"{path}/", member, depth + 1))
            elif isinstance(member, h5py.Dataset):
                if member.external or member.is_virtual:
                    raise RefusedError(f"{path} keeps its values in another file")
                yield path, member


def main() -> None:
    """Parse standard input and report."""
    limits = Limits(**json.loads(sys.argv[1]))
    limit_memory(limits.memory)
    limit_time(limits.seconds)
    report: dict[str, Any]
    try:
        with (
            os.fdopen(0, "rb", closefd=False) as stream,
            os.fdopen(1, "wb", closefd=False) as output,
            h5py.File(stream, "r") as opened,
        ):
            report = {"arrays": [asdict(array) for array in read_arrays(opened, output, limits)]}
    except RefusedError as refusal:
        report = {"refused": str(refusal)}
    except Exception as error:  # noqa: BLE001 - the HDF5 library raises many classes for damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, MemoryError) or "allocation failed" in reason:
            reason = f"it needs more than {limits.memory >> 20} MiB to be parsed"
        report = {"invalid": reason}
    sys.stderr.write("\n" + json.dumps(report))


if __name__ == "__main__":
    main()
