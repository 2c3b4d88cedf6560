"""Any ONNX file as an `onnx_ir.Model`, its weights left where they are: mapped from the file, or from its data file.

The protobuf library copies a file into memory once as bytes and once as a message. Here the large weights are cut out
before it sees them, and each is referred to by its place in the file, as if it were external data.
"""

from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.passes.common import CheckerPass

from exporter.errors import ArtifactError
from exporter.onnx_io.load import check_external_data
from exporter.onnx_io.writer import GRAPH_INITIALIZER, INLINE_BELOW, MODEL_GRAPH, TENSOR_RAW_DATA, field_header
from models.protobuf_wire import BYTES, Field, fields

MAX_WEIGHT_BYTES = (1 << 31) - 1
"""Of weights: a float64 truth of more would take 4 GB, and no engine loads it as one message."""


def read_model(path: Path) -> ir.Model:
    """Read a model and hold it against onnx's checker.

    Raises:
        ArtifactError: unreadable, not ONNX, refused by the checker, its external data is not whole, or larger than
            2 GiB.
    """
    proto = load_without_weights(path)
    check_external_data(proto, path)
    if proto.graph.sparse_initializer or proto.training_info:
        raise ArtifactError(f"{path}: has sparse weights or training graphs, which would be lost; it is left alone")
    try:
        model = ir.from_proto(proto)
        ir.external_data.set_base_dir(model.graph, str(path.parent.absolute()))
        _bind_inline_weights(path, model)
    except Exception as error:  # what a malformed message leads to has no common class
        raise ArtifactError(f"{path}: not a sound ONNX model: {_reason(error)}") from error
    _check_weights(path, model)
    _inline_small(model)
    try:
        CheckerPass()(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path}: onnx's checker refuses it: {_reason(error)}") from error
    return model


def load_without_weights(path: Path) -> onnx.ModelProto:
    """Parse a file without its large weights, which become external data in the file itself.

    Raises:
        ArtifactError: unreadable, or not ONNX.
    """
    try:
        with path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
            slim = _without_weights(data, Field(0, BYTES, 0, len(data), 0), path.name, MODEL_GRAPH)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # an empty file cannot be mapped; what is cut off is a WireError
        raise ArtifactError(f"{path}: not a whole ONNX file (truncated, or another kind of file)") from error
    try:
        proto = onnx.ModelProto.FromString(slim)
    except DecodeError as error:
        raise ArtifactError(f"{path}: not a whole ONNX file (truncated, or another kind of file)") from error
    if not proto.graph.node or not proto.opset_import:
        raise ArtifactError(f"{path}: not an ONNX model: it has no nodes or no opset")
    return proto


def _without_weights(data: mmap, message: Field, name: str, wanted: int) -> bytes:
    """Return a message with the raw data of its large initialisers replaced by references to `name`.

    Args:
        data: the file.
        message: a model, or its graph.
        name: of the file.
        wanted: the field to look into: `MODEL_GRAPH` of a model, `GRAPH_INITIALIZER` of a graph.
    """
    parts: list[bytes] = []
    at = message.start
    for field in fields(data, message.start, message.end):
        if field.number != wanted or field.wire != BYTES:
            parts.append(data[at : field.end])
        elif wanted == MODEL_GRAPH:
            graph = _without_weights(data, field, name, GRAPH_INITIALIZER)
            parts.append(field_header(MODEL_GRAPH, len(graph)) + graph)
        else:
            tensor = _externalize(data, field, name)
            parts.append(field_header(GRAPH_INITIALIZER, len(tensor)) + tensor)
        at = field.end
    return b"".join(parts)


def _externalize(data: mmap, message: Field, name: str) -> bytes:
    """Return a TensorProto whose raw data, if it is large, is referred to by its place in the file."""
    parts: list[bytes] = []
    at, raw = message.start, None
    for field in fields(data, message.start, message.end):
        if field.number == TENSOR_RAW_DATA and field.wire == BYTES and field.end - field.start >= INLINE_BELOW:
            raw = field  # the last counts, as for protobuf
        else:
            parts.append(data[at : field.end])
        at = field.end
    if raw is not None:
        place = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
        for key, value in (("location", name), ("offset", raw.start), ("length", raw.end - raw.start)):
            place.external_data.add(key=key, value=str(value))
        parts.append(place.SerializeToString())
    return b"".join(parts)


def _bind_inline_weights(path: Path, model: ir.Model) -> None:
    """Refer to weights in the model file itself by its full name: it was named by the user, not by a model.

    Without a folder that they must not leave, onnx_ir takes a file that is linked to or has several names.
    """
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and str(tensor.location) == path.name:
                value.const_value = ir.ExternalTensor(
                    str(path.absolute()),
                    tensor.offset,
                    tensor.length,
                    tensor.dtype,
                    shape=tensor.shape,
                    name=str(tensor.name),
                    base_dir="",
                )


def data_files(model: ir.Model, path: Path) -> list[Path]:
    """Return the files beside `path` that hold the external data of a model read from it."""
    external = (tensor for tensor in _tensors(model) if isinstance(tensor, ir.ExternalTensor))
    return [path.with_name(name) for name in sorted({str(tensor.location) for tensor in external if tensor.base_dir})]


def _check_weights(path: Path, model: ir.Model) -> None:
    """Refuse weights that are not wholly there, or that onnx_ir would refuse later, before anything maps them."""
    total = 0
    for tensor in _tensors(model):
        total += tensor.nbytes
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        if tensor.base_dir and Path(tensor.path).stat().st_nlink > 1:
            raise ArtifactError(
                f"{path}: its data file {Path(tensor.path).name} has several names (hard links), which may be a "
                "trick to read another file; copy it"
            )
        length = tensor.nbytes if tensor.length is None else tensor.length
        end = (tensor.offset or 0) + length
        if length != tensor.nbytes or end > Path(tensor.path).stat().st_size:
            raise ArtifactError(
                f"{path}: its weight {tensor.name} takes {tensor.nbytes} bytes, but {Path(tensor.path).name} does not "
                "hold them where the model says; it is truncated, or of another model"
            )
    if total > MAX_WEIGHT_BYTES:
        raise ArtifactError(f"{path}: its weights take {total / 1e9:.1f} GB; models beyond 2 GiB are not optimised")


def _inline_small(model: ir.Model) -> None:
    """Bring small tensors into the message: shapes and axes, which the checker and inference want to see."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes < INLINE_BELOW:
                value.const_value = ir.tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=tensor.name)


def _tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value


def _reason(error: BaseException) -> str:
    """Return the first line of the first cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).splitlines()), "") or type(error).__name__
