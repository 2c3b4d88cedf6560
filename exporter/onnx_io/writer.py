"""Writes an ONNX model without ever holding its weights twice.

The protobuf library serialises a message into one string, so a model of 314 MB costs another 314 MB as a message and
314 MB as that string. Here only the graph without weights becomes a message; each weight's bytes then go from the
tensor straight into the file, in the same wire format. Source: the protobuf encoding guide, and field numbers of
onnx/onnx.proto.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
import onnx_ir as ir

from exporter.errors import UsageError

INLINE_BELOW = 1024
"""Tensors of fewer bytes (shapes, scalars) stay inside the graph message."""

ALIGNMENT = 4096
"""Of each tensor in a data file, so that runtimes can map it."""

MAX_PROTOBUF_BYTES = (1 << 31) - 1

MODEL_GRAPH, GRAPH_INITIALIZER, TENSOR_RAW_DATA = 7, 5, 9
_LENGTH_DELIMITED = 2


@dataclass(frozen=True)
class OnnxFiles:
    """What was written: the model, its data file if it has one, and where the checker may find the weights."""

    model: Path
    data: Path | None
    check: Path


def write_onnx(model: ir.Model, folder: Path, name: str, *, external_data: bool) -> OnnxFiles:
    """Write `model` as `name` into `folder`, weights inside it or in a data file named after their hash.

    A third file, `.check.onnx`, is the same graph with its weights referred to where they lie in the other files:
    onnx's checker takes it at a hundredth of the memory.

    Raises:
        UsageError: weights of 2 GiB or more cannot be inside the model file.
    """
    weights = {
        name: initializer.const_value
        for name, initializer in model.graph.initializers.items()
        if initializer.const_value is not None
        and initializer.const_value.nbytes >= INLINE_BELOW
        and initializer.const_value.dtype != ir.DataType.STRING
    }
    if external_data:
        data, places = _write_data(weights, folder, name)
        path = folder / name
        path.write_bytes(_with_external_data(model, data.name, places).SerializeToString(deterministic=True))
        return OnnxFiles(path, data, path)
    path, places = _write_inline(model, weights, folder / name)
    check = folder / ".check.onnx"  # no artifact's name begins with a dot
    check.write_bytes(_with_external_data(model, name, places).SerializeToString(deterministic=True))
    return OnnxFiles(path, None, check)


def _with_external_data(model: ir.Model, location: str, places: dict[str, tuple[int, int]]) -> onnx.ModelProto:
    """Return the model's message with each weight replaced by its place (offset, length) in a file."""
    kept = {name: model.graph.initializers[name].const_value for name in places}
    for name, (offset, length) in places.items():
        tensor = kept[name]
        assert tensor is not None
        model.graph.initializers[name].const_value = ir.ExternalTensor(
            location, offset, length, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name, base_dir=""
        )
    try:
        return ir.to_proto(model)
    finally:
        for name, tensor in kept.items():
            model.graph.initializers[name].const_value = tensor


def _write_data(
    weights: dict[str, ir.TensorProtocol], folder: Path, name: str
) -> tuple[Path, dict[str, tuple[int, int]]]:
    places: dict[str, tuple[int, int]] = {}
    digest = hashlib.sha256()
    staged = folder / f"{name}.data"
    with staged.open("wb") as stream:
        for key, tensor in weights.items():
            padding = bytes(-stream.tell() % ALIGNMENT)
            stream.write(padding)
            digest.update(padding)
            payload = _bytes(tensor)
            places[key] = (stream.tell(), payload.nbytes)
            stream.write(payload)
            digest.update(payload)
    data = staged.with_name(f"{name}.{digest.hexdigest()[:16]}.data")
    return staged.rename(data), places


def _write_inline(
    model: ir.Model, weights: dict[str, ir.TensorProtocol], path: Path
) -> tuple[Path, dict[str, tuple[int, int]]]:
    proto = _with_external_data(model, "", {name: (0, tensor.nbytes) for name, tensor in weights.items()})
    heads: dict[str, bytes] = {}
    small: list[onnx.TensorProto] = []
    for tensor in proto.graph.initializer:
        if tensor.name in weights:
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            heads[tensor.name] = tensor.SerializeToString(deterministic=True)
        else:
            small.append(onnx.TensorProto.FromString(tensor.SerializeToString()))
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(small)
    graph = proto.graph.SerializeToString(deterministic=True)
    proto.ClearField("graph")

    raw = {name: field_header(TENSOR_RAW_DATA, weights[name].nbytes) for name in heads}
    bodies = {name: len(heads[name]) + len(raw[name]) + weights[name].nbytes for name in heads}
    tensors = {name: field_header(GRAPH_INITIALIZER, bodies[name]) for name in heads}
    size = len(graph) + sum(len(tensors[name]) + bodies[name] for name in heads)
    if size > MAX_PROTOBUF_BYTES - (1 << 20):
        raise UsageError(f"the weights take {size} bytes, more than one ONNX file can hold; add --external-data")

    places: dict[str, tuple[int, int]] = {}
    with path.open("wb") as stream:
        stream.write(proto.SerializeToString(deterministic=True))
        stream.write(field_header(MODEL_GRAPH, size))
        stream.write(graph)
        for name, head in heads.items():
            stream.write(tensors[name] + head + raw[name])
            places[name] = _write_payload(stream, weights[name])
    return path, places


def _write_payload(stream: BinaryIO, tensor: ir.TensorProtocol) -> tuple[int, int]:
    payload = _bytes(tensor)
    offset = stream.tell()
    stream.write(payload)
    return offset, payload.nbytes


def _bytes(tensor: ir.TensorProtocol) -> memoryview:
    """Return a tensor's little-endian bytes, without a copy where it is contiguous."""
    if tensor.dtype.bitwidth < 8:
        return memoryview(tensor.tobytes())
    array = tensor.numpy()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def field_header(number: int, length: int) -> bytes:
    """Return the key and length that open a length-delimited protobuf field."""
    return encode_varint(number << 3 | _LENGTH_DELIMITED) + encode_varint(length)


def encode_varint(value: int) -> bytes:
    """Return a number as protobuf's varint."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
