"""What an ONNX file states of itself, read from its bytes without the library onnx, which takes a second to import.

Field numbers: onnx/onnx.proto. ModelProto: graph 7, metadata_props 14. GraphProto: initializer 5. TensorProto: dims 1,
data_type 2, float_data 4, int32_data 5, string_data 6, int64_data 7, name 8, raw_data 9, double_data 10,
uint64_data 11, external_data 13, data_location 14. StringStringEntryProto: key 1, value 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np

from exporter.errors import ArtifactError
from exporter.stored_tensors import StoredModel, StoredTensor
from models.config import MANIFEST_KEY
from models.foreign_files import describe_file
from models.garbage_collection import garbage_collection_paused
from models.paths import require_file
from models.protobuf_wire import BYTES, Field, WireError, WireReader

DTYPES: Mapping[int, tuple[str, int]] = dict(
    enumerate(
        (
            *(("float32", 32), ("uint8", 8), ("int8", 8), ("uint16", 16), ("int16", 16), ("int32", 32), ("int64", 64)),
            *(("string", 0), ("bool", 8), ("float16", 16), ("float64", 64), ("uint32", 32), ("uint64", 64)),
            *(("complex64", 64), ("complex128", 128), ("bfloat16", 16), ("float8e4m3fn", 8), ("float8e4m3fnuz", 8)),
            *(("float8e5m2", 8), ("float8e5m2fnuz", 8), ("uint4", 4), ("int4", 4), ("float4e2m1", 4)),
            *(("float8e8m0", 8), ("uint2", 2), ("int2", 2), ("float6e2m3", 8), ("float6e3m2", 8)),
        ),
        1,
    )
)
"""{TensorProto.DataType: (its name as `exporter.onnx_io.dtypes.dtype_name` returns it, bits of a value)}."""
STRING = 8
EXTERNAL = 1
_FLOATS, _NUMBERS = (4, 10), (5, 7, 11)


def read_stored_onnx(path: Path) -> StoredModel:
    """Return the manifest in a model's metadata, and its main graph's initialisers but for those of strings.

    Raises:
        ArtifactError: it cannot be read, or is no ONNX file.
    """
    require_file(path, "model", ArtifactError)
    try:
        with (
            garbage_collection_paused(),
            path.open("rb") as stream,
            mmap(stream.fileno(), 0, access=ACCESS_READ) as data,
        ):
            wire = WireReader(data)
            model = wire.members(Field(0, BYTES, 0, len(data), 0))
            graphs = [wire.members(span) for span in model.get(7, []) if span.wire == BYTES]
            found = [_tensor(path, wire, span) for graph in graphs for span in graph.get(5, []) if span.wire == BYTES]
            metadata = wire.pairs([span for span in model.get(14, []) if span.wire == BYTES])
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, OverflowError) as error:  # an empty file cannot be mapped; what is cut off is a WireError
        raise not_complete(path) from error
    tensors = tuple(tensor for tensor in found if tensor is not None)
    others = {tensor.path for tensor in tensors if tensor.path != path}
    data_files = {other.name if other.parent == path.parent else str(other) for other in others}
    return StoredModel(metadata.get(MANIFEST_KEY), tensors, tuple(sorted(data_files)))


def _tensor(path: Path, wire: WireReader, span: Field) -> StoredTensor | None:
    """Return an initialiser; None for one of strings."""
    members = wire.members(span)
    name = wire.text(members[8][-1]) if 8 in members else ""
    kind = members[2][-1].value if 2 in members else 0
    if kind == STRING:
        return None
    if kind not in DTYPES:
        raise WireError(f"{name} has the element type {kind}")
    dtype, bits = DTYPES[kind]
    shape = tuple(size for dim in members.get(1, []) for size in wire.packed(dim))
    if 14 in members and members[14][-1].value == EXTERNAL:
        stated = wire.pairs(members.get(13, []))
        place = path.parent / stated.get("location", "")
        offset, length = int(stated.get("offset") or 0), stated.get("length")
        size = int(length) if length else -(-prod(shape) * bits // 8)
        if min(offset, size) < 0:
            raise WireError(f"{name} is at a negative offset, or of a negative length")
        return StoredTensor(name, dtype, shape, place, offset, size)
    if 9 in members:
        raw = members[9][-1]
        return StoredTensor(name, dtype, shape, path, raw.start, raw.end - raw.start)
    values = _values(wire, members, bits)
    return StoredTensor(name, dtype, shape, path, 0, len(values), values)


def _values(wire: WireReader, members: Mapping[int, list[Field]], bits: int) -> bytes:
    """Return values that are not in `raw_data` as they would be there."""
    for number in _FLOATS:
        if number in members:
            return b"".join(wire.data[run.start : run.end] for run in members[number])
    numbers = [value for number in _NUMBERS for run in members.get(number, []) for value in wire.packed(run)]
    size = max(8, bits) // 8
    return (np.array([value & (1 << 64) - 1 for value in numbers], np.uint64)).astype(f"<u{size}").tobytes()


def not_complete(path: Path, detail: str = "") -> ArtifactError:
    """Return the error of a file that is no ONNX model: what it is instead, if its first bytes say it."""
    if (what := describe_file(path)) is not None:
        return ArtifactError(f"{path}: not an ONNX file but {what}")
    return ArtifactError(f"{path}: not a complete ONNX file (truncated, or another file format){detail}")
