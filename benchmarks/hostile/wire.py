"""Protocol buffers by hand: Caffe's and ONNX's messages with any claims."""

from __future__ import annotations

from collections.abc import Sequence


def varint(value: int) -> bytes:
    """Return an unsigned number as a varint."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def message(number: int, payload: bytes) -> bytes:
    """Return a field of bytes."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def number(field: int, value: int) -> bytes:
    """Return a field of a number."""
    return varint(field << 3) + varint(value & (1 << 64) - 1)


def nested(field: int, depth: int) -> bytes:
    """Return messages inside one another, all in the same field."""
    parts: list[bytes] = []
    length = 0
    for _ in range(depth):
        head = varint(field << 3 | 2) + varint(length)
        parts.append(head)
        length += len(head)
    return b"".join(reversed(parts))


def caffe_blob(sizes: Sequence[int], data: bytes = b"\0" * 4) -> bytes:
    """Return a BVLC BlobProto with a shape."""
    return message(7, message(1, b"".join(varint(size & (1 << 64) - 1) for size in sizes))) + message(5, data)


def caffe(*blobs: bytes, extra: bytes = b"") -> bytes:
    """Return a NetParameter of one layer."""
    layer = message(1, b"conv1a") + b"".join(message(7, blob) for blob in blobs) + extra
    return message(1, b"net") + message(100, layer)


def onnx(graph: bytes, extra: bytes = b"") -> bytes:
    """Return a ModelProto of IR 8, opset 17."""
    return number(1, 8) + message(7, graph) + message(8, message(1, b"") + number(2, 17)) + extra


def onnx_tensor(dims: Sequence[int], name: bytes = b"w", extra: bytes = b"", data: bytes = b"\0" * 4) -> bytes:
    """Return a TensorProto of float32."""
    raw = message(9, data) if data else b""
    return b"".join(number(1, size) for size in dims) + number(2, 1) + message(8, name) + raw + extra


def onnx_value(name: bytes, dims: Sequence[int]) -> bytes:
    """Return a ValueInfoProto of float32."""
    shape = b"".join(message(1, number(1, size)) for size in dims)
    return message(1, name) + message(2, message(1, number(1, 1) + message(2, shape)))


def onnx_node(operator: bytes = b"Relu", extra: bytes = b"") -> bytes:
    """Return a NodeProto from x to y."""
    return message(1, b"x") + message(2, b"y") + message(4, operator) + extra


IN_OUT = message(11, onnx_value(b"x", [1, 4])) + message(12, onnx_value(b"y", [1, 4]))


def external(**entries: object) -> bytes:
    """Return the external data of a TensorProto."""
    pairs = (message(13, message(1, key.encode()) + message(2, str(value).encode())) for key, value in entries.items())
    return b"".join(pairs) + number(14, 1)


def nested_subgraphs(depth: int) -> bytes:
    """Return an attribute with a graph with a node with an attribute with a graph, and so on."""
    parts: list[bytes] = []
    length = 0
    for _ in range(depth):
        for field in (6, 1, 5):  # innermost first: graph of an attribute, node of a graph, attribute of a node
            head = varint(field << 3 | 2) + varint(length)
            parts.append(head)
            length += len(head)
    return b"".join(reversed(parts))
