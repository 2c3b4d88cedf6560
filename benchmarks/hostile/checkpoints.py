"""Hostile pickles, archives of torch and NumPy, and compressed files."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from hostile.case import Case, raw
from hostile.containers import (
    COMPRESSED,
    deep,
    header,
    many_members_tar,
    npy,
    overlapping_zip,
    patched_zip,
    rebuilt,
    stored_zip,
    torch_members,
    torch_pickle,
)


def cases() -> Iterator[Case]:
    """Yield all of them."""
    yield from pickle_cases()
    yield from zip_cases()
    yield from array_cases()
    yield from compressed_cases()
    yield from index_cases()


def index_cases() -> Iterator[Case]:
    """Yield indexes of shards."""
    start, own = b'{"weight_map":{', "index-own.index.json"
    indexes = {
        "deep": start + b'"a":' + deep('{"a":', "}", 1_000_000),
        "many": start + b",".join(b'"%d":"a"' % n for n in range(300_000)) + b"}}",
        "shards": start + b",".join(b'"%d":"%d"' % (n, n) for n in range(9_000)) + b"}}",
        "long-name": start + b'"' + b"w" * 3_000_000 + b'":"a"}}',
        "long-file": start + b'"w":"' + b"a" * 3_000_000 + b'"}}',
        "escapes": start + b'"w":"' + b"\\u001b" * 600_000 + b'"}}',
        "large": start + b" " * 64_000_000 + b"}}",
        "own": start + b'"w":"' + own.encode() + b'"}}',
        "digits": b'{"weight_map":' + b"9" * 3_000_000 + b"}",
    }
    for name, content in indexes.items():
        yield raw(f"index-{name}.index.json", content)


def pickle_cases() -> Iterator[Case]:
    """Yield pickles, plain and as torch writes them."""
    aliased = b"".join(b"(" + (b"h" + bytes([n])) * 10 + b"tq" + bytes([n + 1]) + b"0" for n in range(30))
    pickles = {
        "aliased-key": b"\x80\x02}Nq\x000" + aliased + b"h\x1eNs.",
        "nested-key": b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
        "million-tuples": b"\x80\x02)" + b"\x85" * 1_000_000 + b".",
        "long4": b"\x80\x02\x8b\xff\xff\xff\x7f.",
        "long4-real": b"\x80\x02\x8b" + struct.pack("<i", 10_000_000) + b"\x7f" * 10_000_000 + b".",
        "memo-2-31": b"\x80\x02Nr\xff\xff\xff\x7f.",
        "get-2-31": b"\x80\x02j\xff\xff\xff\x7f.",
        "unicode8": b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f.",
        "bytes8": b"\x80\x04\x8e" + b"\xff" * 8 + b".",
        "bytearray8": b"\x80\x05\x96" + b"\xff" * 8 + b".",
        "frame": b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
        "marks": b"\x80\x02" + b"(" * 3_000_000 + b".",
        "empties": b"\x80\x02](" + b"]" * 3_000_000 + b"e.",
        "digits": b"L" + b"9" * 3_000_000 + b"L\n.",
        "int-digits": b"I" + b"9" * 3_000_000 + b"\n.",
        "colliding": b"\x80\x02}("
        + b"".join(b"\x8a\x0b" + (n * ((1 << 61) - 1)).to_bytes(11, "little") + b"N" for n in range(100_000))
        + b"u.",
        "floats": pickle.dumps({n + 0.5: n for n in range(200_000)}, 2),
        "alias-values": b"\x80\x02]q\x000" + b"".join(
            b"](" + (b"h" + bytes([n])) * 10 + b"eq" + bytes([n + 1]) + b"0" for n in range(60)
        ) + b"h\x3c.",
        "dup": b"\x80\x02](N" + b"2" * 3_000_000 + b"e.",
        "build": b"\x80\x02c__main__\nA\n)\x81" + b"}b" * 1_000_000 + b".",
        "reduce": b"\x80\x02" + b"cx\ny\n" * 300_000 + b")R" * 300_000 + b".",
        "long-name": b"\x80\x02c" + b"m" * 3_000_000 + b"\nn\n.",
        "persistent": b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu\x8a\x08"
        + b"\xff" * 7 + b"\x7ftQ.",
        "escapes": b"S'" + b"\\x41" * 3_000_000 + b"'\n.",
        "set": b"\x80\x04\x8f(" + b"".join(b"G" + struct.pack(">d", n + 0.5) for n in range(200_000)) + b"\x90.",
        "global-many": b"\x80\x02](" + b"".join(b"cm%d\nn\n" % n for n in range(300_000)) + b"e.",
    }  # fmt: skip
    for name, content in pickles.items():
        yield raw(f"{name}.pkl", content)
        yield Case(f"{name}.pth", lambda path, content=content: torch_pickle(path, content))
    claims = {
        "expanded": ((1 << 40, 1 << 10), (0, 0)),
        "huge": ((1 << 62, 4), (0, 0)),
        "overflow": ((1 << 32, 1 << 32), (1 << 32, 1)),
        "negative-size": ((-4, 4), (4, 1)),
        "negative-stride": ((4, 4), (-4, 1)),
        "axes": ((1,) * 5000, (1,) * 5000),
        "power": ((1 << 63,) * 3000, (0,) * 3000),
    }
    for name, (sizes, strides) in claims.items():
        yield Case(
            f"tensor-{name}.pth",
            lambda path, sizes=sizes, strides=strides: torch_pickle(path, rebuilt(sizes, strides)),
            codes=(0, 3) if name == "expanded" else (3,),  # described, and refused where it is to be loaded
        )
    yield Case("tensor-offset.pth", lambda path: torch_pickle(path, rebuilt((4, 4), (4, 1), 1 << 62)))
    yield Case("tensor-count.pth", lambda path: torch_pickle(path, rebuilt((4, 4), (4, 1), 0, 1 << 62)))
    yield Case("tensors-20000.pth", lambda path: stored_zip(path, torch_members(20_000)))


def zip_cases() -> Iterator[Case]:
    """Yield zip archives."""
    yield Case("bomb.npz", lambda path: stored_zip(path, [("a.npy", bytes(128 << 20))], COMPRESSED))
    yield Case("bomb-bz2.npz", lambda path: stored_zip(path, [("a.npy", bytes(64 << 20))], zipfile.ZIP_BZIP2))
    yield Case("bomb-lzma.npz", lambda path: stored_zip(path, [("a.npy", bytes(64 << 20))], zipfile.ZIP_LZMA))
    yield Case("duplicate.pth", lambda path: stored_zip(path, [*torch_members(), torch_members()[0]]))
    yield Case("encrypted.pth", lambda path: patched_zip(path, b"PK\1\2", 8, b"\1\0", every=True))
    yield Case("local-name.pth", lambda path: patched_zip(path, b"PK\3\4", 30, b"X"))
    yield Case("local-crc.pth", lambda path: patched_zip(path, b"PK\3\4", 14, b"\1\2\3\4"))
    yield Case("local-size.pth", lambda path: patched_zip(path, b"PK\3\4", 18, b"\xff\xff\xff\x7f\xff\xff\xff\x7f"))
    yield Case("local-method.pth", lambda path: patched_zip(path, b"PK\3\4", 8, b"\x08\0"))
    yield Case("central-size.pth", lambda path: patched_zip(path, b"PK\1\2", 24, b"\xff\xff\xff\xff"))
    yield Case("central-offset.pth", lambda path: patched_zip(path, b"PK\1\2", 42, b"\xff\xff\xff\x7f"))
    yield Case("end-count.pth", lambda path: patched_zip(path, b"PK\5\6", 8, b"\xff\xff\xff\xff"))
    yield Case("end-offset.pth", lambda path: patched_zip(path, b"PK\5\6", 16, b"\xff\xff\xff\xff"))
    yield Case("parent.zip", lambda path: stored_zip(path, [("../../x", b"1"), ("/etc/x", b"2")]))
    yield Case("members.zip", lambda path: stored_zip(path, [(f"{n}.txt", b"") for n in range(60_000)]))
    yield Case("members.npz", lambda path: stored_zip(path, [(f"{n}.npy", b"") for n in range(60_000)]))
    yield Case("overlap.npz", overlapping_zip)
    yield Case("overlap.zip", lambda path: overlapping_zip(path, 60_000))

    def prepended(path: Path) -> None:
        stored_zip(path, torch_members())
        path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())

    yield Case("prepended.pth", prepended)

    def twice(path: Path) -> None:
        stored_zip(path, torch_members())
        path.write_bytes(path.read_bytes() + path.read_bytes())

    yield Case("concatenated.pth", twice)


def array_cases() -> Iterator[Case]:
    """Yield headers of NumPy's arrays."""
    headers = {
        "claims": (header("(1099511627776, 1048576)"), {}),
        "negative": (header("(-4, 4)"), {}),
        "overflow": (header("(4611686018427387904, 4611686018427387904)"), {}),
        "deep": (deep("(", ")", 4000), {}),
        "minus": (b"-" * 9000 + b"1", {}),
        "long": (b"{" + b" " * 60_000 + b"}", {}),
        "length-4g": (header("(1,)"), {"version": b"\2\0", "length": 0xFFFFFFFF}),
        "header-100m": (b"(" * 100_000_000, {"version": b"\2\0"}),
        "axes": (header(f"({'1,' * 3000})"), {}),
        "powers": (header(f"({'9' * 18},".replace(",", f",{'9' * 18},") * 1 + "1)"), {}),
        "digits": (header(f"({'9' * 9000},)"), {}),
        "dtype": (header("(1,)", "<f4," * 1500), {}),
        "subarray": (header("(1,)", "(1000000,1000000)f4"), {}),
        "void": (header("(1,)", "V2147483647"), {}),
        "unicode": (header("(1,)", "<U536870911"), {}),
        "object": (header("(1,)", "|O"), {}),
    }
    for name, (content, options) in headers.items():
        made = npy(content, **options)  # pyright: ignore[reportArgumentType]
        yield raw(f"npy-{name}.npy", made + bytes(64))
        yield Case(f"npy-{name}.npz", lambda path, made=made: stored_zip(path, [("a.npy", made + bytes(64))]))


def compressed_cases() -> Iterator[Case]:
    """Yield compressed files and tar archives."""
    yield raw("bomb.pth.gz", lambda: gzip.compress(bytes(128 << 20), 9))
    yield raw("bomb.pth.bz2", lambda: bz2.compress(bytes(64 << 20)))
    yield raw("bomb.pth.xz", lambda: lzma.compress(bytes(64 << 20), preset=0))
    yield raw("streams.pth.gz", lambda: gzip.compress(b"") * 1_000_000)
    yield raw("streams.pth.bz2", lambda: bz2.compress(b"") * 1_000_000)
    yield raw("streams.pth.xz", lambda: lzma.compress(b"") * 500_000)
    yield raw("name.pth.gz", lambda: b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * 50_000_000)
    yield raw("joblib.pkl", lambda: zlib.compress(b"\x80\x04" + bytes(128 << 20), 9))
    yield raw("flushes.pkl", lambda: zlib.compress(b"\x80\x04]")[:2] + b"\x00\x00\x00\xff\xff" * 5_000_000)

    # tar archives
    yield Case("longname.tar", many_members_tar)
    yield raw("members.tar", lambda: b"".join(tarfile.TarInfo(f"{n}").tobuf() for n in range(20_000)) + bytes(1024))

    def pax(path: Path, records: bytes) -> None:
        info = tarfile.TarInfo("pax")
        info.type, info.size = tarfile.XHDTYPE, len(records)
        body = records + bytes(-len(records) % 512)
        path.write_bytes(info.tobuf() + body + tarfile.TarInfo("a.pth").tobuf() + bytes(1024))

    yield Case("pax-size.tar", lambda path: pax(path, b"30 size=" + b"9" * 21 + b"\n"))
    yield Case("pax-many.tar", lambda path: pax(path, b"8 abc=d\n" * 2_000_000))
    yield Case("pax-sparse.tar", lambda path: pax(path, b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"))
