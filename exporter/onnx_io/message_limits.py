"""What an ONNX file may hold beside its weights, checked before the protobuf library and Python make objects of it.

A field takes two bytes of a file and hundreds in memory, as a message of protobuf's, and again as a node or value of
onnx_ir's. So the fields of all messages inside one another are counted first, without making anything of them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import onnx

from models.garbage_collection import garbage_collection_paused
from models.protobuf_wire import BYTES, MAX_FIELDS, Data, WireError, WireReader

PACKED_BYTES = 32
"""Packed numbers: so many bytes of a file count as a field, because each of them can be a number."""
MAX_DEPTH = 100
"""Messages inside one another; the protobuf library's own limit."""


def check_fields(data: Data) -> None:
    """Refuse a model with more fields than `models.protobuf_wire.MAX_FIELDS`, in all of its messages together.

    Args:
        data: the bytes of a ModelProto.

    Raises:
        WireError: it has more, nests too deeply, or is no protocol buffer.
    """
    if len(data) <= 2 * MAX_FIELDS:  # it cannot hold more
        return
    with garbage_collection_paused():
        _count_fields(data)


def _count_fields(data: Data) -> None:
    reader = WireReader(data, MAX_FIELDS)
    packed = 0
    waiting: list[tuple[Any, int, int, int]] = [(onnx.ModelProto.DESCRIPTOR, 0, len(data), 1)]
    while waiting:
        descriptor, start, end, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise WireError(f"it nests more than {MAX_DEPTH} deep")
        known = _members(descriptor.full_name, descriptor)
        for field in reader.fields(start, end):
            if field.wire != BYTES or field.number not in known:
                continue
            inner = known[field.number]
            if inner is not None:
                waiting.append((inner, field.start, field.end, depth + 1))
            else:
                packed += (field.end - field.start) // PACKED_BYTES
                if packed > MAX_FIELDS:
                    raise WireError(f"it has more than {PACKED_BYTES * MAX_FIELDS:,} bytes of packed numbers")


@cache
def _members(_name: str, descriptor: Any) -> dict[int, Any]:
    """Return {field: the message in it, or None for packed numbers} of a message."""
    members: dict[int, Any] = {}
    for field in descriptor.fields:
        if field.message_type is not None:
            members[field.number] = field.message_type
        elif field.type not in (field.TYPE_STRING, field.TYPE_BYTES):
            members[field.number] = None
    return members
