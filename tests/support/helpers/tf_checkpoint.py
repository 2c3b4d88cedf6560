"""A writer of TensorFlow's checkpoints, both formats, by the published formats alone: see the reader for the sources."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from helpers.protobuf_bytes import delimited, number, varint

MAGIC = 0xDB4775248B80FB57
DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}


def shape_proto(array: "np.ndarray[Any, Any]") -> bytes:
    return b"".join(delimited(2, number(1, size)) for size in array.shape)


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """Entries with shared key starts, one restart point."""
    parts: list[bytes] = []
    before = b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        parts += [varint(shared), varint(len(key) - shared), varint(len(value)), key[shared:], value]
        before = key
    return b"".join([*parts, struct.pack("<II", 0, 1)])


def write_table(path: Path, entries: list[tuple[bytes, bytes]], per_block: int = 2, kind: int = 0) -> None:
    """Sorted entries, `per_block` in each block; `kind` is the compression byte. CRCs are left at zero."""
    entries = sorted(entries)
    index: list[tuple[bytes, bytes]] = []
    with path.open("wb") as out:

        def put(content: bytes) -> bytes:
            handle = varint(out.tell()) + varint(len(content))
            out.write(content + bytes([kind]) + bytes(4))
            return handle

        for at in range(0, len(entries), per_block):
            chunk = entries[at : at + per_block]
            index.append((chunk[-1][0] + b"\xff", put(block(chunk))))
        footer = put(block([])) + put(block(index))
        out.write(footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC))


def write_v1(path: Path, variables: Mapping[str, "np.ndarray[Any, Any]"], **table: int) -> None:
    """One file: a list of the variables under the empty key, their numbers under others."""
    metas: list[bytes] = []
    entries: list[tuple[bytes, bytes]] = []
    for name, array in sorted(variables.items()):
        kind = DTYPES[array.dtype.name]
        whole = b"".join(delimited(1, b"") for _ in array.shape)  # an extent without numbers is the whole axis
        metas.append(
            delimited(1, name.encode()) + delimited(2, shape_proto(array)) + number(3, kind) + delimited(4, whole)
        )
        if array.dtype.kind == "f":
            values = delimited(5 if kind == 1 else 6, array.tobytes())
        else:
            values = delimited(7 if kind == 3 else 10, b"".join(varint(int(v)) for v in array.reshape(-1)))
        saved = delimited(1, name.encode()) + delimited(2, whole) + delimited(3, values)
        entries.append((b"\0\x01" + name.encode() + b"\0\x01", delimited(2, saved)))
    entries.append((b"", delimited(1, b"".join(delimited(1, meta) for meta in metas))))
    write_table(path, entries, **table)


def write_v2(prefix: Path, variables: Mapping[str, "np.ndarray[Any, Any]"], shards: int = 1, **table: int) -> None:
    """`prefix.index` and `prefix.data-0000i-of-0000n`; the variables go to the shards in turn."""
    entries = [(b"", number(1, shards) + delimited(3, number(1, 1)))]
    parts = [bytearray() for _ in range(shards)]
    for position, (name, array) in enumerate(sorted(variables.items())):
        part = parts[position % shards]
        place = number(3, position % shards) + number(4, len(part)) + number(5, array.nbytes) + varint(6 << 3 | 5)
        kind = number(1, DTYPES[array.dtype.name]) + delimited(2, shape_proto(array))
        entries.append((name.encode(), kind + place + bytes(4)))
        part += array.tobytes()
    for shard, part in enumerate(parts):
        prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}").write_bytes(part)
    write_table(prefix.with_name(f"{prefix.name}.index"), entries, **table)
