"""Compressed streams: gzip, bzip2, xz, and zlib around a pickle, which is how joblib compresses."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Iterator
from typing import BinaryIO

CHUNK = 1 << 20
PROBED_BYTES = 512
GZIP_BITS = zlib.MAX_WBITS | 16
"""zlib's sign for gzip's header."""
MAX_STREAMS = 1000
BYTES_PER_STREAM = 10_000
"""A file may hold MAX_STREAMS streams, and one more for each BYTES_PER_STREAM: bgzip's have 64 KiB of content."""
XZ_MEMORY = 256 << 20
"""What a decompressor may take: xz -9 needs 65 MiB, a crafted header asks for gigabytes."""

STARTS = (
    b"\x89HDF\r\n\x1a\n",
    b"PK\x03\x04",
    b"\x80\x02",
    b"\x80\x03",
    b"\x80\x04",
    b"\x80\x05",
    b"\x12\x01\0\0\0\0\0\0",
)
"""First bytes of HDF5, of zip archives (torch, npz), of pickles, and of MXNet's files."""

COMPRESSIONS = {b"\x1f\x8b\x08": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}
"""{first bytes: name} of the compressions that Python's standard library unpacks."""
ZLIB = b"\x78"
"""First byte of a zlib stream with the usual window; joblib's `compress=True`."""

Chunks = Iterator[bytes]


def find_compression(head: bytes) -> str:
    """Return the name of the compression of a file that starts with `head`, PROBED_BYTES bytes; "" for none."""
    known = next((name for start, name in COMPRESSIONS.items() if head.startswith(start)), "")
    return known or ("zlib" if _is_zlib_pickle(head) else "")


def _is_zlib_pickle(head: bytes) -> bool:
    """Return whether a pickle follows that zlib compressed: its two bytes of header prove too little."""
    if head[:1] != ZLIB:
        return False
    try:
        return zlib.decompressobj().decompress(head, 2).startswith(STARTS)
    except zlib.error:
        return False


def unpack(stream: BinaryIO, kind: str) -> Chunks:
    """Return what a compressed stream holds; several compressed streams may follow one another.

    Raises:
        EOFError: it ends too early.
        ValueError: many more streams than programs write. (Of damaged data, what the standard library raises.)
    """
    if kind == "zlib":
        yield from _inflate(stream, zlib.MAX_WBITS, several=False)
    elif kind == "gzip":
        yield from _inflate(stream, GZIP_BITS, several=True)
    else:
        yield from _unpack_blocks(stream, kind)


def _unpack_blocks(stream: BinaryIO, kind: str) -> Chunks:
    """Yield what bzip2 or xz compressed."""
    new = bz2.BZ2Decompressor if kind == "bzip2" else lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY)
    one, data = new(), stream.read(CHUNK)
    streams = 1
    while True:
        yield one.decompress(data, CHUNK)
        data = b""
        if one.eof:
            data = (one.unused_data or stream.read(CHUNK)).lstrip(b"\0")  # xz pads its streams
            if not data:
                return
            streams += 1
            _check_streams(streams, stream)
            one = new()
        elif one.needs_input:
            data = stream.read(CHUNK)
            if not data:
                raise EOFError("it ends too early")


def _inflate(stream: BinaryIO, window: int, *, several: bool) -> Chunks:
    """Yield what zlib compressed, with zlib's or gzip's header; the checksum after it is checked."""
    streams, data = 0, stream.read(CHUNK)
    while data:
        streams += 1
        _check_streams(streams, stream)
        one = zlib.decompressobj(window)
        while not one.eof:
            if not data:
                raise EOFError("it ends too early")
            yield one.decompress(data, CHUNK)
            data = one.unconsumed_tail or (b"" if one.eof else stream.read(CHUNK))
        data = (one.unused_data or stream.read(CHUNK)).lstrip(b"\0") if several else b""


def _check_streams(streams: int, stream: BinaryIO) -> None:
    """Refuse many small streams: each one costs a copy of what is read beyond it."""
    if streams > MAX_STREAMS + stream.tell() // BYTES_PER_STREAM:
        raise ValueError(f"it is made of more than {MAX_STREAMS:,} small streams")
