"""Hostile safetensors, HDF5, Caffe, MXNet and TensorFlow files."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

from hostile.case import Case, raw
from hostile.containers import deep, h5_claim, h5_groups, many_groups, safetensors, table
from hostile.wire import caffe, caffe_blob, message, nested, number, varint


def cases() -> Iterator[Case]:
    """Yield all of them."""
    yield from safetensors_cases()
    yield Case("claim.h5", h5_claim)
    yield Case("groups-deep.h5", lambda path: h5_groups(path, 3000))
    yield Case("groups-many.h5", many_groups)
    yield from caffe_cases()
    yield from table_cases()


def safetensors_cases() -> Iterator[Case]:
    """Yield headers of safetensors files."""
    entry = '"t{}":{{"dtype":"F32","shape":[],"data_offsets":[0,0]}}'
    yield raw(
        "many.safetensors",
        lambda: safetensors(("{" + ",".join(entry.format(n) for n in range(900_000)) + "}").encode()),
    )
    yield raw("deep.safetensors", lambda: safetensors(b'{"a":' + deep("[", "]", 1_000_000) + b"}"))
    yield raw("deep-meta.safetensors", lambda: safetensors(b'{"__metadata__":' + deep('{"a":', "}", 300_000) + b"}"))
    yield raw(
        "infinite.safetensors", safetensors(b'{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,4]}}', bytes(4))
    )
    yield raw(
        "digits.safetensors",
        lambda: safetensors(
            b'{"a":{"dtype":"F32","shape":[' + b"9" * 1_000_000 + b'],"data_offsets":[0,4]}}', bytes(4)
        ),
    )
    yield raw(
        "twice.safetensors",
        safetensors(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            bytes(4),
        ),
    )
    yield raw("length.safetensors", safetensors(b"{}", b"", (1 << 63) - 1))
    yield raw(
        "overflow.safetensors",
        safetensors(
            b'{"a":{"dtype":"F32","shape":[4611686018427387904,4611686018427387904],"data_offsets":[0,4]}}', bytes(4)
        ),
    )
    yield raw(
        "offsets.safetensors",
        safetensors(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,0]}}', bytes(4)),
    )
    yield raw(
        "axes.safetensors",
        lambda: safetensors(
            b'{"a":{"dtype":"F32","shape":[' + b"1," * 500_000 + b'1],"data_offsets":[0,4]}}', bytes(4)
        ),
    )
    yield raw(
        "metadata.safetensors",
        lambda: safetensors(json.dumps({"__metadata__": {"c3d_export": "[" * 3_000_000}}).encode()),
        (0, 3),
    )
    yield raw(
        "metadata2.safetensors",
        lambda: safetensors(json.dumps({"__metadata__": {str(n): "" for n in range(500_000)}}).encode()),
    )


def caffe_cases() -> Iterator[Case]:
    """Yield files of Caffe."""
    yield raw("fields.caffemodel", lambda: message(1, b"n") + b"\x12\x00" * 10_000_000)
    yield raw("layers.caffemodel", lambda: message(1, b"n") + message(100, message(1, b"a")) * 2_000_000)
    yield raw("inner.caffemodel", lambda: caffe(extra=b"\x22\x00" * 10_000_000))
    yield raw("unknown.caffemodel", lambda: message(1, b"n") + number(9, 1) * 10_000_000)
    yield raw("blobs.caffemodel", lambda: caffe(extra=message(7, b"") * 2_000_000))
    yield raw("groups.caffemodel", lambda: message(1, b"n") + b"\x1b" * 1_000_000)
    yield raw("length.caffemodel", message(1, b"n") + b"\xa2\x06\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
    yield raw("dims.caffemodel", lambda: caffe(caffe_blob([(1 << 63) - 1] * 1_000_000)))
    yield raw("overflow.caffemodel", caffe(caffe_blob([1 << 32, 1 << 32])))
    yield raw("negative.caffemodel", caffe(caffe_blob([-4, -4])))
    yield raw("shapes.caffemodel", lambda: caffe(caffe_blob([1] * 20_000_000)))
    yield raw("nested.caffemodel", lambda: message(1, b"n") + nested(100, 500_000))
    yield raw(
        "long-name.caffemodel", lambda: message(100, message(1, b"\n" * 20_000_000) + message(7, caffe_blob([2])))
    )


def table_cases() -> Iterator[Case]:
    """Yield files of MXNet and TensorFlow."""
    head = (0x112).to_bytes(8, "little") + bytes(8)
    yield raw("count.params", head + b"\xff" * 8)
    yield raw("axes.params", head + (1).to_bytes(8, "little") + struct.pack("<Iii", 0xF993FAC9, 0, 1 << 30))
    yield raw(
        "sizes.params",
        head
        + (1).to_bytes(8, "little")
        + struct.pack("<Iii", 0xF993FAC9, 0, 32)
        + struct.pack("<q", (1 << 63) - 1) * 32
        + struct.pack("<iii", 1, 0, 0),
    )
    yield raw("names.params", head + bytes(8) + (5).to_bytes(8, "little") + b"\xff" * 8)
    yield raw(
        "unknown.params",
        head
        + (10_000).to_bytes(8, "little")
        + struct.pack("<Iii", 0xF993FAC9, 0, 0) * 10_000
        + (10_000).to_bytes(8, "little")
        + ((4000).to_bytes(8, "little") + b"\xff" * 4000) * 10_000,
    )

    # TensorFlow
    yield raw(
        "shared.index",
        lambda: table(
            [varint(0) + varint(65_000) + varint(0) + b"k" * 65_000]
            + [varint(65_000) + varint(1) + varint(0) + b"a"] * 400_000
        ),
    )
    yield raw("entries.index", lambda: table([varint(0) + varint(0) + varint(0)] * 5_000_000))
    yield raw(
        "variables.model",
        lambda: table(
            [varint(0) + varint(0) + varint(len(v)) + v for v in [message(1, message(1, message(1, b"a")) * 2_000_000)]]
        ),
    )
    yield raw("blocks.index", lambda: b"\0" * 5 + table([])[8 + 5 :])
    yield raw("handle.index", bytes(100) + (b"\xff" * 9 + b"\x7f") * 4 + (0xDB4775248B80FB57).to_bytes(8, "little"))
    yield raw(
        "restarts.index",
        lambda: (
            bytes(1000)
            + b"\xff\xff\xff\xff"
            + bytes(5)
            + (varint(0) * 3 + varint(1004)).ljust(40, b"\0")
            + (0xDB4775248B80FB57).to_bytes(8, "little")
        ),
        (0, 3),
    )
