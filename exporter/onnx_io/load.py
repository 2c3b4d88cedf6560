"""ONNX files as an `onnx.ModelProto`, without their large weights or with them.

The protobuf library copies a file into memory once as bytes and once as a message. `load_without_weights` cuts the
large weights out before that and refers to each by its offset in the file, as if it were external data.
"""

from hashlib import sha256
from mmap import ACCESS_READ, mmap
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, Message
from onnx.external_data_helper import load_external_data_for_model

from exporter.errors import ArtifactError
from exporter.isolation.worker import reads_file
from exporter.onnx_io.message_limits import check_fields, require_expandable
from exporter.onnx_io.stored import not_complete
from exporter.onnx_io.subgraphs import all_graphs, sort_nodes
from models.errors import first_line
from models.paths import require_file
from models.protobuf_wire import BYTES, Field, WireError, WireReader, field_header

MODEL_GRAPH, GRAPH_INITIALIZER, TENSOR_RAW_DATA = 7, 5, 9
"""Field numbers of onnx/onnx.proto: the graph of a model, the initialisers of a graph, the bytes of a tensor."""
INLINE_BELOW = 1024
"""Tensors of fewer bytes (shapes, scalars) stay inside the graph message."""
MAX_MESSAGE_BYTES = (1 << 31) - 1
"""The protobuf library's limit for one message."""
_utf8: set[bytes] = set()
"""Hashes of messages whose texts are all UTF-8: a command loads a file tens of times, and the check is slow."""


@reads_file("protobuf")
def load_without_weights(path: Path) -> onnx.ModelProto:
    """Load a model; its weights of `INLINE_BELOW` bytes and more become external data in the model file itself.

    Raises:
        ArtifactError: unreadable, or not ONNX.
        LimitError: its functions expand to too many nodes.
    """
    require_file(path, "model", ArtifactError)
    try:
        with path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
            reader = WireReader(data)
            message = _without_weights(reader, Field(0, BYTES, 0, len(data), 0), path.name, MODEL_GRAPH)
        check_fields(message)
        return _checked(onnx.ModelProto.FromString(message), path, sha256(message).digest())
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeEncodeError as error:
        raise ArtifactError(f"{path}: its name is not UTF-8, as ONNX wants names of files; rename it") from error
    except (ValueError, DecodeError) as error:  # an empty file cannot be mapped; what is cut off is a WireError
        raise not_complete(path, _detail(error)) from error


@reads_file("protobuf")
def load_with_weights(path: Path, *, external: bool = True) -> onnx.ModelProto:
    """Load a model with the weights in its file and, if `external`, those in its data files.

    Raises:
        ArtifactError: unreadable, not ONNX, or its external data is not in its folder.
    """
    require_file(path, "model", ArtifactError)
    try:
        content = path.read_bytes()
        check_fields(content)
        model = _checked(onnx.ModelProto.FromString(content), path)
        if external:
            load_external_data_for_model(model, str(path.parent))
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}") from error
    except (DecodeError, WireError) as error:
        raise not_complete(path, _detail(error)) from error
    except (ValueError, TypeError, onnx.checker.ValidationError) as error:
        raise ArtifactError(f"{path}: its weights cannot be loaded: {cause_line(error)}") from error
    return model


def cause_line(error: BaseException) -> str:
    """Return the first line of an exception's first cause, or its class where it has no message."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def _detail(error: Exception) -> str:
    return f": {error}" if isinstance(error, WireError) else ""


def _checked(model: onnx.ModelProto, path: Path, digest: bytes = b"") -> onnx.ModelProto:
    if not model.graph.node or not model.opset_import:
        raise ArtifactError(f"{path}: not an ONNX model: it has no nodes or no opset")
    if digest not in _utf8:
        if field := _find_bytes(model):
            raise ArtifactError(f"{path}: not a valid ONNX model: a text in it is not UTF-8 ({field})")
        _utf8.update(filter(None, [digest]))
    require_expandable(model, path)
    for graph in all_graphs(model.graph):
        sort_nodes(graph)
    return model


def _find_bytes(message: Message) -> str | None:
    """Return the first field of texts, such as `NodeProto.name`, of which protobuf returns one as bytes: no UTF-8."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            if any(isinstance(text, bytes) for text in ([value] if isinstance(value, str | bytes) else value)):
                return f"{message.DESCRIPTOR.name}.{field.name}"
        elif field.type == field.TYPE_MESSAGE:
            for inner in [value] if isinstance(value, Message) else value:
                if found := _find_bytes(inner):
                    return found
    return None


def _without_weights(reader: WireReader, message: Field, file_name: str, wanted: int) -> bytes:
    """Return a message with the raw data of its large initialisers replaced by references to the file.

    Args:
        reader: of the file.
        message: a model, or its graph.
        file_name: name of the file.
        wanted: the field to change: `MODEL_GRAPH` of a model, `GRAPH_INITIALIZER` of a graph.
    """
    parts: list[bytes] = []
    copied = end = message.start  # bytes that stay are copied in one piece, up to the next field that is changed
    for field in reader.fields(message.start, message.end):
        if field.number == wanted and field.wire == BYTES and field.end - field.start >= INLINE_BELOW:
            parts.append(reader.data[copied:end])
            if wanted == MODEL_GRAPH:
                changed = _without_weights(reader, field, file_name, GRAPH_INITIALIZER)
            else:
                changed = _externalize(reader, field, file_name)
            parts.append(field_header(wanted, len(changed)) + changed)
            copied = field.end
        end = field.end
    parts.append(reader.data[copied:end])
    return b"".join(parts)


def _externalize(reader: WireReader, message: Field, file_name: str) -> bytes:
    """Return a TensorProto whose raw data, if it is large, is replaced by its offset in the file."""
    parts: list[bytes] = []
    offset, raw = message.start, None
    for field in reader.fields(message.start, message.end):
        if field.number == TENSOR_RAW_DATA and field.wire == BYTES and field.end - field.start >= INLINE_BELOW:
            raw = field  # the last one counts, as for protobuf
        else:
            parts.append(reader.data[offset : field.end])
        offset = field.end
    if raw is not None:
        reference = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
        for key, value in (("location", file_name), ("offset", raw.start), ("length", raw.end - raw.start)):
            reference.external_data.add(key=key, value=str(value))
        parts.append(reference.SerializeToString())
    return b"".join(parts)
