"""Archives, arrays, pickles and tables with any claims."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from hostile.wire import varint

COMPRESSED = zipfile.ZIP_DEFLATED


def stored_zip(path: Path, members: Sequence[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> None:
    """Write a zip archive, two members of one name included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in members:
                archive.writestr(zipfile.ZipInfo(name), content, compress_type=compression)


def torch_members(count: int = 1) -> list[tuple[str, bytes]]:
    """Return the members of a small file of torch.save."""
    import torch

    stream = io.BytesIO()
    torch.save({f"w{n}": torch.ones(2, 2) for n in range(count)}, stream)
    with zipfile.ZipFile(stream) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def patched_zip(path: Path, find: bytes, offset: int, value: bytes, *, every: bool = False) -> None:
    """Write a file of torch.save in which the bytes at `offset` after a signature are others."""
    stored_zip(path, torch_members())
    data = bytearray(path.read_bytes())
    at = data.find(find)
    while at >= 0:
        data[at + offset : at + offset + len(value)] = value
        at = data.find(find, at + 1) if every else -1
    path.write_bytes(data)


def overlapping_zip(path: Path, count: int = 5000, size: int = 1 << 20) -> None:
    """Write a zip whose members are all the same bytes of the file."""
    body = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = bytes(size)
    packed = body.compress(content) + body.flush()
    crc = zlib.crc32(content)
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, crc, len(packed), size, 5, 0) + b"a.npy" + packed
    entries = b""
    for n in range(count):
        name = f"{n:x}.npy".encode()
        entries += (
            struct.pack(
                "<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, crc, len(packed), size, len(name), 0, 0, 0, 0, 0, 0
            )
            + name
        )
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(entries), len(local), 0)
    path.write_bytes(local + entries + end)


def npy(header: bytes, version: bytes = b"\1\0", length: int | None = None, data: bytes = b"") -> bytes:
    """Return an .npy with any header."""
    size = len(header) if length is None else length
    return b"\x93NUMPY" + version + size.to_bytes(2 if version == b"\1\0" else 4, "little") + header + data


def safetensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file with any header."""
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


def deep(opening: str, closing: str, depth: int, inside: str = "1") -> bytes:
    """Return text nested so deeply."""
    return (opening * depth + inside + closing * depth).encode()


def torch_pickle(path: Path, content: bytes) -> None:
    """Write a pickle as torch.save's archive holds one."""
    stored_zip(
        path, [("a/data.pkl", content), ("a/byteorder", b"little"), ("a/version", b"3"), ("a/data/0", b"\0" * 64)]
    )


def rebuilt(sizes: Sequence[int], strides: Sequence[int], offset: int = 0, count: int = 16) -> bytes:
    """Return the pickle of a dict of one tensor with any claims."""

    class Tensor:
        def __reduce__(self) -> tuple[object, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
            from torch import _utils

            return vars(_utils)["_rebuild_tensor_v2"], (
                Storage(),
                offset,
                tuple(sizes),
                tuple(strides),
                False,
                {},
            )

    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: object) -> object:
            import torch

            return ("storage", torch.FloatStorage, "0", "cpu", count) if isinstance(obj, Storage) else None

    stream = io.BytesIO()
    Pickler(stream, 2).dump({"conv1.weight": Tensor()})
    return stream.getvalue()


def table(entries: Sequence[bytes]) -> bytes:
    """Return a sorted string table of one block, with entries as they are in the file."""
    block = b"".join(entries) + struct.pack("<II", 0, 1)
    handle = varint(0) + varint(len(block))
    index = varint(0) + varint(1) + varint(len(handle)) + b"~" + handle + struct.pack("<II", 0, 1)
    at = len(block) + 5
    footer = varint(0) + varint(0) + varint(at) + varint(len(index))
    magic = (0xDB4775248B80FB57).to_bytes(8, "little")
    return block + bytes(5) + index + bytes(5) + footer.ljust(40, b"\0") + magic


def many_members_tar(path: Path) -> None:
    """Write a tar whose long names are of long names, 20,000 deep."""
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("././@LongLink")
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, 5
        head = info.tobuf(tarfile.GNU_FORMAT) + b"name\0".ljust(512, b"\0")
        assert archive.fileobj is not None
        archive.fileobj.write(head * 20_000)


def h5_groups(path: Path, depth: int, width: int = 1) -> None:
    """Write an HDF5 file of groups."""
    import h5py

    with h5py.File(path, "w", libver="latest") as file:
        for _ in range(width):
            group: h5py.Group = file
            for _ in range(depth):
                group = group.create_group("g") if "g" not in group else group.create_group(os.urandom(6).hex())


def h5_claim(path: Path) -> None:
    """Write 1,400 bytes that claim 4 TiB."""
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("w", shape=(1 << 20, 1 << 20), dtype="f4", chunks=(1024, 1024))


def many_groups(path: Path) -> None:
    """Write more groups than a checkpoint has."""
    import h5py

    with h5py.File(path, "w", libver="latest") as file:
        for n in range(30_000):
            file.create_group(f"g{n}")


def header(shape: str, dtype: str = "<f4") -> bytes:
    """Return the header of an .npy."""
    return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()


def encrypted() -> bytes:
    """Return an .npz whose member says that it is encrypted."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x.npy", npy(header("(1,)")) + bytes(4))
    data = bytearray(stream.getvalue())
    data[6] |= 1
    at = data.find(b"PK\1\2")
    data[at + 8] |= 1
    return bytes(data)
