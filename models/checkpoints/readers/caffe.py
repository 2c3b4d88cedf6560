"""Reads `.caffemodel`: a NetParameter with its layers' blobs, in C3D-v1.0's schema or in stock BVLC Caffe's.

The two schemas share every number but the blob's: C3D-v1.0 put `length` into BlobProto and moved what follows, so a
stock parser takes these weights for gradients.

    BlobProto   num channels (length) height width  data diff  shape
    C3D-v1.0     1     2        3       4      5      6    7
    BVLC         1     2        -       3      4      5    6     7

Layers are in `layers` = 2 (V1LayerParameter: name 4, blobs 6) or `layer` = 100 (LayerParameter: name 1, blobs 7).
Sources: facebookarchive/C3D, C3D-v1.0/src/caffe/proto/caffe.proto; BVLC/caffe, src/caffe/proto/caffe.proto.
"""

from dataclasses import dataclass
from itertools import islice

from models.checkpoints.contents import MAX_TENSORS
from models.checkpoints.dtypes import FLOAT32
from models.checkpoints.file_tensor import FileTensor
from models.checkpoints.readers.base import MappedFile, ReadResult
from models.errors import CheckpointError
from models.protobuf_wire import BYTES, FIXED32, VARINT, Field, WireError

LAYERS = {2: (4, 6), 100: (1, 7)}
"""{field of NetParameter: (name, blobs) of its layers}."""

PARAMETERS = ("weight", "bias")
"""What Caffe keeps in a layer's first and second blob; it has no names for them."""


@dataclass(frozen=True)
class Schema:
    """Where a blob keeps its sizes and numbers: field numbers."""

    name: str
    sizes: tuple[int, ...]
    data: int
    shape: int | None


MAX_AXES = 1 << 16
"""A shape of more numbers is refused before it is held. Caffe allows 32 (`kMaxBlobAxes` in blob.hpp)."""
C3D_V1 = Schema("C3D-v1.0", (1, 2, 3, 4, 5), data=6, shape=None)
BVLC = Schema("BVLC", (1, 2, 3, 4), data=5, shape=7)


def looks_like_caffe(file: MappedFile) -> bool:
    """Return whether the file begins as a NetParameter does, with its name or a layer."""
    return file.data[:1] in (b"\x0a", b"\x12")


def read_caffe(file: MappedFile) -> ReadResult:
    """Read a caffemodel; tensors are named `<layer>.weight` and `<layer>.bias` and mapped where they are aligned.

    Raises:
        CheckpointError: not a caffemodel, truncated, a mean file, or numbers that do not fill their shape.
    """
    try:
        blobs = _blobs(file)
        if not blobs:
            raise CheckpointError(f"{_without_layers(file)}")
        schema = _schema(file, blobs)
        tensors = {name: _tensor(file, name, blob, schema) for name, blob in blobs.items()}
    except WireError as error:
        raise CheckpointError(f"not a valid caffemodel, or truncated: {error}") from error
    return ReadResult(tensors, f"caffemodel ({schema.name} schema)")


def read_blob(file: MappedFile) -> FileTensor:
    """Read a file that is one BlobProto, such as a mean file (`.binaryproto`); its sizes are in the blob's order.

    Raises:
        CheckpointError: not a BlobProto, truncated, or numbers that do not fill their shape.
    """
    blob = Field(0, BYTES, 0, file.size, 0)
    try:
        return _tensor(file, "the blob", blob, _schema(file, {"": blob}))
    except WireError as error:
        raise CheckpointError(f"not a valid BlobProto, or truncated: {error}") from error


def _blobs(file: MappedFile) -> dict[str, Field]:
    """Return {layer.parameter: the span of its BlobProto}."""
    found: dict[str, Field] = {}
    for layer in file.wire.fields(0, file.size):
        if layer.number not in LAYERS or layer.wire != BYTES:
            continue
        name_field, blob_field = LAYERS[layer.number]
        members = list(file.wire.fields(layer.start, layer.end))
        names = [field for field in members if field.number == name_field]
        name = file.wire.text(names[-1]) if names else ""
        for index, blob in enumerate(field for field in members if field.number == blob_field and field.wire == BYTES):
            parameter = PARAMETERS[index] if index < len(PARAMETERS) else f"blob{index}"
            if f"{name}.{parameter}" in found:
                raise CheckpointError(f"two layers are called {name}")
            found[f"{name}.{parameter}"] = blob
        if len(found) > MAX_TENSORS:
            raise CheckpointError(f"more than {MAX_TENSORS} tensors")
    return found


def _without_layers(file: MappedFile) -> str:
    present = {(field.number, field.wire) for field in file.wire.fields(0, file.size)}
    if {(1, VARINT), (2, VARINT)} <= present:
        return "a blob without layers: a mean file (.binaryproto), not a network's weights"
    return "holds no layers with weights: not a caffemodel"


def _schema(file: MappedFile, blobs: dict[str, Field]) -> Schema:
    """Return the schema by field 5 of the blobs: a width (a number) in C3D-v1.0's, the data (bytes) in BVLC's."""
    for blob in blobs.values():
        for field in file.wire.fields(blob.start, blob.end):
            if field.number == C3D_V1.sizes[-1] or field.number == BVLC.shape:
                return C3D_V1 if field.number == C3D_V1.sizes[-1] and field.wire == VARINT else BVLC
    return BVLC


def _tensor(file: MappedFile, name: str, blob: Field, schema: Schema) -> FileTensor:
    sizes = dict.fromkeys(schema.sizes, 0)
    shape: list[int] | None = None
    chunks: list[Field] = []
    for field in file.wire.fields(blob.start, blob.end):
        if field.number in sizes and field.wire == VARINT:
            sizes[field.number] = field.value
        elif field.number == schema.shape and field.wire == BYTES:
            dims = (dim for dim in file.wire.fields(field.start, field.end) if dim.number == 1)
            sizes_given = (size for dim in dims for size in file.wire.packed(dim))
            shape = [*islice(sizes_given, MAX_AXES + 1)]
            if len(shape) > MAX_AXES:
                raise CheckpointError(f"{name} claims more than {MAX_AXES:,} axes")
        elif field.number == schema.data and field.wire == FIXED32:
            raise CheckpointError(f"{name} is not a packed field, as Caffe writes it")
        elif field.number == schema.data and field.wire == BYTES:
            chunks.append(field)
    if len(chunks) != 1:
        raise CheckpointError(f"{name} has {len(chunks)} packed fields of values, not one")
    (data,) = chunks
    whole = tuple(shape if shape is not None else sizes.values())
    return file.tensor(name, FLOAT32, whole, data.start, data.end - data.start)
