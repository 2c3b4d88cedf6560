"""What an ONNX file may hold beside its weights, checked before the protobuf library and Python make objects of it.

A field takes two bytes of a file and hundreds in memory, as a message of protobuf's, and again as a node or value of
onnx_ir's. So the fields of all messages inside one another are counted first, without making anything of them.

Local functions that call one another several times expand exponentially: 41 of them, each of which calls the next
twice, are a file of 2.5 kB and 2 ** 40 nodes, which onnx's checker, its shape inference and every engine would walk. So
the nodes are counted without expanding them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import onnx

from exporter.errors import LimitError
from exporter.onnx_io.subgraphs import nested_nodes
from models.garbage_collection import garbage_collection_paused
from models.protobuf_wire import BYTES, MAX_FIELDS, Data, WireError, WireReader

PACKED_BYTES = 32
"""Packed numbers: so many bytes of a file count as a field, because each of them can be a number."""
MAX_DEPTH = 100
"""Messages inside one another; the protobuf library's own limit."""
MAX_NODES = 1_000_000
"""The largest number of nodes that is accepted; the largest published graphs have about a hundred thousand."""
MAX_FUNCTION_DEPTH = 400
"""Functions inside functions: expanding them recurses."""

Key = tuple[str, str, str]


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


def require_expandable(model: onnx.ModelProto, name: object) -> None:
    """Refuse a model whose functions expand to more nodes than anything can work with.

    Args:
        model: the model.
        name: of its file, for the message.

    Raises:
        LimitError: more than `MAX_NODES` nodes, or functions that are nested deeper than `MAX_FUNCTION_DEPTH`.
    """
    if not model.functions:
        return
    functions = {(function.domain, function.name, function.overload): function for function in model.functions}
    called = {
        key: [each for each in dict.fromkeys(map(_key, _nodes(function.node))) if each in functions]
        for key, function in functions.items()
    }
    counted: dict[Key, int] = {}
    depths: dict[Key, int] = {}
    waiting: list[tuple[Key, bool]] = [(key, False) for key in functions]
    while waiting:
        key, calls_are_counted = waiting.pop()
        if calls_are_counted:
            counted[key] = _expanded(functions[key].node, counted)
            depths[key] = 1 + max((depths[each] for each in called[key]), default=0)
            if depths[key] > MAX_FUNCTION_DEPTH:
                raise LimitError(f"{name}: its local functions are nested more than {MAX_FUNCTION_DEPTH} deep")
        elif key not in counted:
            counted[key], depths[key] = 1, 0  # one that calls itself is counted so; onnx's checker refuses it
            waiting.append((key, True))
            waiting += [(each, False) for each in called[key] if each not in counted]
    total = _expanded(model.graph.node, counted)
    if total > MAX_NODES:
        raise LimitError(f"{name}: its local functions expand to {total:.3g} nodes, more than {MAX_NODES:,}")


def _expanded(nodes: Iterable[onnx.NodeProto], counted: dict[Key, int]) -> int:
    return sum(counted.get(_key(node), 1) for node in _nodes(nodes))


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterable[onnx.NodeProto]:
    nodes = list(nodes)
    return (*nodes, *nested_nodes(nodes))


def _key(node: onnx.NodeProto) -> Key:
    return node.domain, node.op_type, node.overload
