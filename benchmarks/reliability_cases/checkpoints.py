"""Checkpoints: hostile pickles, truncations and flipped bits of every format."""

from __future__ import annotations

import hashlib
import io
import os
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from helpers.checkpoint_files import ARRAYS, TF_DATA, WRITERS
from helpers.hostile_pickles import MARKER, hostile_pickles
from helpers.loaded import load_tensors

from models.errors import C3DExportError
from reliability_cases.base import Row, Run
from reliability_cases.forked import run_cases
from reliability_cases.watch import Watch

HDF5 = ("c3d.h5", "packed.h5")
"""A process of the tool's own parses each of them: fewer cases."""
DENSE = 4096
"""Every truncation below so many bytes is tried."""
LONG_TRUNCATIONS, LONG_FLIPS = 31_632, 47_600


def families(run: Run) -> Iterator[Row]:
    """Yield the rows."""
    folder = run.folder / "checkpoints"
    folder.mkdir()
    reader = _Reader(folder)
    yield _pickles(run, reader)
    yield _truncations(run, reader)
    yield from _flips(run, reader)


class _Reader:
    """Reads what is written to a file, watched: nothing may be imported, run, written or connected to by it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.originals: dict[str, bytes] = {}
        self.digests: dict[str, str] = {}
        for name, write in WRITERS.items():
            write(folder / name)
            self.originals[name] = (folder / name).read_bytes()
            self.digests[name] = _digest(folder / name)
        # NumPy parses a header as a Python literal, which is compiled and never run
        self.watch = Watch(folder.parent, ("compile",))
        self.watch_hdf5 = Watch(folder.parent, ("compile", "subprocess.Popen", "os.fork", "os.posix_spawn", "import"))

    def is_part(self, name: str) -> bool:
        """Return whether the changed file holds some of the original's tensors, and nothing else."""
        found, whole = (load_tensors(path) for path in (self.changed(name), self.folder / name))
        return found.keys() < whole.keys() and all(whole[key].equal(tensor) for key, tensor in found.items())

    def changed(self, name: str) -> Path:
        """Return where this process writes a file: another one's may be mapped."""
        folder = self.folder / f"changed-{os.getpid()}"
        if not folder.exists():
            folder.mkdir()
            (folder / f"ckpt.{TF_DATA}").write_bytes((self.folder / f"ckpt.{TF_DATA}").read_bytes())
        return folder / name

    def read(self, name: str, content: bytes) -> tuple[str, str]:
        """Return the outcome, and the failure where there is one; `loaded` where every number is as it was."""
        path = self.changed(name)
        path.write_bytes(content)
        watch = self.watch_hdf5 if name in HDF5 else self.watch
        with watch.armed():
            try:
                digest = _digest(path)
            except C3DExportError as error:
                outcome, failure = "refused", _line_fault(str(error))
            else:
                outcome, failure = "loaded" if digest == self.digests.get(name) else "loaded with other values", ""
        if watch.events:
            failure = f"caused {watch.events[0]}"
        if (self.folder / MARKER).exists():
            failure = "ran code"
        return outcome, failure and f"{name}: {failure}"


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(load_tensors(path).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode("utf-8", "surrogatepass"))
        if not tensor.is_meta:
            digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def _line_fault(line: str) -> str:
    if "\n" in line:
        return "the error has several lines"
    return "" if "changed-" in line or "the checkpoint is empty" in line else f"the error names no file: {line[:80]}"


def _pickles(run: Run, reader: _Reader) -> Row:
    corpus = [data for _, data in hostile_pickles()]
    ways = dict(list(_WAYS.items())[: run.choose(1, len(_WAYS))])
    cases = [(name, data) for name in ways for data in corpus]
    row = Row(
        "no pickle runs code, imports or opens anything",
        f"42 functions x 19 forms x 4 places, {'in ' + ', '.join(ways) if run.long else 'bare'}; an audit hook watches",
    )
    return run_cases(row, len(cases), lambda number: _try_pickle(reader, *cases[number]))


def _try_pickle(reader: _Reader, way: str, data: bytes) -> tuple[str, str]:
    outcome, failure = reader.read(way, _WAYS[way](data))
    return ("read, calls left out" if outcome != "refused" else outcome), failure


def _torch_zip(data: bytes) -> bytes:
    return _zip({"a/data.pkl": data, "a/version": b"3\n", "a/byteorder": b"little"})


def _npy(data: bytes) -> bytes:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
    return b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header + data


def _zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


_WAYS: dict[str, Callable[[bytes], bytes]] = {
    "c3d.pkl": lambda data: data,
    "zipped.pth": _torch_zip,
    "c3d.npy": _npy,
    "c3d.npz": lambda data: _zip({"w.npy": _npy(data)}),
}
"""{file: the pickle in a file of that format}."""


def _truncations(run: Run, reader: _Reader) -> Row:
    generator = random.Random(18)
    total, cases = run.choose(2_000, LONG_TRUNCATIONS), list[tuple[str, int]]()
    hdf5 = run.choose(5, 150)
    for name in HDF5:
        cases += [(name, generator.randrange(len(reader.originals[name]))) for _ in range(hdf5)]
    others = [name for name in WRITERS if name not in HDF5]
    every = [(name, size) for name in others for size in range(min(DENSE, len(reader.originals[name])))]
    cases += generator.sample(every, min(total - len(cases), len(every)))
    while len(cases) < total:
        name = generator.choice(others)
        cases.append((name, generator.randrange(len(reader.originals[name]))))
    row = Row(
        "a truncated checkpoint is refused",
        f"{len(WRITERS)} formats"
        + (f", every length below {DENSE}, then random ones" if run.long else ", random lengths"),
    )
    return run_cases(row, len(cases), lambda number: _try_truncation(reader, *cases[number]))


def _try_truncation(reader: _Reader, name: str, size: int) -> tuple[str, str]:
    outcome, failure = reader.read(name, reader.originals[name][:size])
    if outcome == "loaded with other values" and reader.is_part(name):
        outcome = "loaded without its last layers, which the network misses"
    elif outcome == "loaded with other values" and not failure:
        failure = f"{name}: {size} of {len(reader.originals[name])} bytes load as other values"
    return outcome, failure


def _flips(run: Run, reader: _Reader) -> Iterator[Row]:
    generator = random.Random(81)
    total, hdf5 = run.choose(2_000, LONG_FLIPS), run.choose(5, 150)
    others = [name for name in WRITERS if name not in HDF5]
    cases = [(name, generator.randrange(8 * len(reader.originals[name]))) for name in HDF5 for _ in range(hdf5)]
    while len(cases) < total:
        name = others[len(cases) % len(others)]
        cases.append((name, generator.randrange(8 * len(reader.originals[name]))))
    row = Row(
        "a checkpoint with a flipped bit loads or is refused",
        f"{len(WRITERS)} formats; most have no checksum, so other values are expected, which the SHA-256 shows",
    )
    yield run_cases(row, len(cases), lambda number: _try_flip(reader, *cases[number]))
    checked = ("c3d.pth", "c3d.npz", "packed.npz")
    few = [(name, generator.randrange(8 * len(reader.originals[name]))) for name in checked for _ in range(total // 20)]
    row = Row(
        "a flipped bit in a zip archive never loads as other weights", "torch.save, numpy.savez: CRC-32 is checked"
    )
    yield run_cases(row, len(few), lambda number: _try_checked_flip(reader, *few[number]))


def _try_flip(reader: _Reader, name: str, bit: int) -> tuple[str, str]:
    changed = bytearray(reader.originals[name])
    changed[bit // 8] ^= 1 << bit % 8
    outcome, failure = reader.read(name, bytes(changed))
    return outcome, failure and f"{failure} (bit {bit})"


def _try_checked_flip(reader: _Reader, name: str, bit: int) -> tuple[str, str]:
    outcome, failure = _try_flip(reader, name, bit)
    if outcome == "loaded with other values" and not _only_names(reader, name):
        failure = failure or f"{name}: bit {bit} loads as other values"
    return outcome, failure


def _only_names(reader: _Reader, name: str) -> bool:
    """Return whether the values are the original ones under other names: a zip's CRC does not cover names."""
    found = [tensor.numpy().tobytes() for tensor in load_tensors(reader.changed(name)).values()]
    return sorted(found) == sorted(array.tobytes() for array in ARRAYS.values())
