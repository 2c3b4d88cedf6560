"""Hostile arrays of inputs, images, videos, and archives of torch's programs."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from hostile.case import INSPECT, Case, text
from hostile.containers import COMPRESSED, deep, encrypted, header, npy, overlapping_zip, stored_zip


def cases() -> Iterator[Case]:
    """Yield all of them."""
    yield from array_cases()
    yield from video_cases()


def array_cases() -> Iterator[Case]:
    """Yield what `--array` is given."""
    arrays = ("verify", "parity", "ok.onnx", "--against", "ok.onnx", "--array", "{}")
    yield text("array-claims.npy", lambda: npy(header("(1099511627776, 1048576)")), arrays)
    yield text("array-overflow.npy", lambda: npy(header("(4611686018427387904, 16)")), arrays)
    yield text("array-negative.npy", lambda: npy(header("(-1, 4)")), arrays)
    yield text("array-minus.npy", lambda: npy(b"-" * 9000 + b"1"), arrays)
    yield text("array-deep.npy", lambda: npy(deep("(", ")", 4000)), arrays)
    yield text("array-header.npy", lambda: npy(b"(" * 100_000_000, b"\2\0"), arrays)
    yield text("array-pickle.npy", lambda: npy(header("(1,)", "|O")) + pickle.dumps([os.getcwd]), arrays)
    yield Case(
        "array-bomb.npz",
        lambda path: stored_zip(path, [("x.npy", npy(header("(33554432,)")) + bytes(128 << 20))], COMPRESSED),
        arrays,
    )
    yield Case(
        "array-bz2.npz",
        lambda path: stored_zip(path, [("x.npy", npy(header("(16000000,)")) + bytes(64_000_000))], zipfile.ZIP_BZIP2),
        arrays,
    )
    yield Case(
        "array-claims.npz", lambda path: stored_zip(path, [("x.npy", npy(header("(1099511627776, 1048576)")))]), arrays
    )
    yield Case("array-overlap.npz", overlapping_zip, arrays)
    yield Case(
        "array-members.npz",
        lambda path: stored_zip(path, [(f"{n}.npy", npy(header("(1,)")) + bytes(4)) for n in range(30_000)]),
        arrays,
    )
    yield Case("array-encrypted.npz", lambda path: path.write_bytes(encrypted()), arrays)


def video_cases() -> Iterator[Case]:
    """Yield images, videos and archives."""
    video = ("c3d-export", "predict", "ok5.onnx", "{}", "--preprocess", "jfzhang95")
    yield Case("size.png", lambda path: png(path, 65_535, 65_535), video)
    yield Case("size.mp4", lambda path: patched_mp4(path, 65_535, 65_535), video, (0, 3))
    yield Case("size16.mp4", lambda path: patched_mp4(path, 16_384, 16_384), video, (0, 3))
    yield Case("size.y4m", lambda path: y4m(path, 16_384, 16_384), video)
    yield Case("size-max.y4m", lambda path: y4m(path, 2_000_000_000, 2_000_000_000), video)
    yield text(
        "size.gif",
        lambda: (
            b"GIF89a"
            + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0)
            + b","
            + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0)
            + b"\x02\x02L\x01\0;"
        ),
        video,
    )
    yield text(
        "size.bmp",
        lambda: (
            b"BM"
            + struct.pack("<IHHI", 100, 0, 0, 54)
            + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
            + bytes(50)
        ),
        video,
    )
    yield text("zeros.mp4", lambda: bytes(10_000_000), video)
    yield text(
        "atoms.mp4", lambda: b"\0\0\0\x18ftypisom" + bytes(12) + struct.pack(">I4s", 8, b"moov") * 2_000_000, video
    )
    yield text(
        "deep.mp4",
        lambda: (
            b"\0\0\0\x18ftypisom"
            + bytes(12)
            + b"".join(struct.pack(">I4s", 8 * n, b"moov") for n in range(100_000, 0, -1))
        ),
        video,
    )
    yield text("concat.ffconcat", lambda: b"ffconcat version 1.0\nfile '/etc/passwd'\n", video)
    yield text("playlist.m3u8", lambda: b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/x\n", video)
    for name, kind in (("zip.pt", "torchscript"), ("zip.pt2", "pt2")):
        members = [
            ("a/constants.pkl", b""),
            ("a/code/x.py", b""),
            ("a/models/model.json", b""),
            ("a/data.pkl", bytes(128 << 20)),
        ]
        yield Case(f"bomb-{name}", lambda path, members=members: stored_zip(path, members, COMPRESSED), INSPECT)
        del kind


def png(path: Path, width: int, height: int) -> None:
    """Write a PNG that claims a size, with one row of zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(width * 3 + 1))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def y4m(path: Path, width: int, height: int) -> None:
    """Write a raw video that claims a size, and the start of a frame."""
    path.write_bytes(b"YUV4MPEG2 W%d H%d F25:1 Ip A1:1 C420jpeg\nFRAME\n" % (width, height) + bytes(1000))


def patched_mp4(path: Path, width: int, height: int) -> None:
    """Write an MP4 whose track claims another size."""
    data = bytearray((Path(__file__).parents[2] / "tests" / "data" / "bikes.mp4").read_bytes())
    at = data.find(b"avc1")
    while at >= 0:
        data[at + 28 : at + 32] = struct.pack(">HH", min(width, 65535), min(height, 65535))
        at = data.find(b"avc1", at + 1)
    path.write_bytes(data)
