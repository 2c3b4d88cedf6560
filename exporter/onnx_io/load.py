"""Opening ONNX files: the graph without its weights, its signature, and where its external data lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from exporter.artifacts.manifest import is_plain_name
from exporter.errors import ArtifactError, C3DExportError
from models.specs import Signature, TensorSpec

if TYPE_CHECKING:
    import onnx

    from exporter.onnx_io.writer import OnnxFiles


def check_written(files: OnnxFiles) -> None:
    """Hold what was written against onnx's checker.

    Raises:
        C3DExportError: it refuses, which is a fault of this tool or its versions.
    """
    import onnx

    try:
        onnx.checker.check_model(str(files.check), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise C3DExportError(f"onnx's checker refuses the written model: {error}") from error


def load_graph(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file without its external data.

    Raises:
        ArtifactError: unreadable, or not ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    except DecodeError as error:
        raise ArtifactError(f"{path}: not a whole ONNX file (truncated, or another kind of file)") from error
    except (ValueError, TypeError, RuntimeError) as error:
        raise ArtifactError(f"{path}: not a sound ONNX file: {error}") from error
    if not model.graph.node or not model.opset_import:
        raise ArtifactError(f"{path}: not an ONNX model: it has no nodes or no opset")
    return model


def check_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a model whose weights lie outside its own folder, or are missing.

    Raises:
        ArtifactError: with the location.
    """
    for location in external_locations(model):
        if location == path.name:
            continue  # `onnx_reader.parse` refers to the weights inside the file so
        data = path.with_name(location) if is_plain_name(location) else None
        if data is None or data.is_symlink():
            raise ArtifactError(f"{path}: its weights are said to be at {location!r}, not a file of its own folder")
        if not data.is_file():
            raise ArtifactError(f"{path}: its weights are said to be in {location}, which is not beside it")


def external_locations(model: onnx.ModelProto) -> list[str]:
    """Return the files, as the model names them, that hold its external data."""
    return sorted(
        {entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"}
    )


def element_type(number: int) -> str:
    """Return the name of an ONNX element type, or `type 99` for one that ONNX does not have."""
    import onnx

    try:
        return onnx.TensorProto.DataType.Name(number).lower()
    except ValueError:
        return f"type {number}"


def graph_signature(model: onnx.ModelProto) -> Signature:
    """Return an ONNX graph's inputs and outputs, as its own types state them."""

    def spec(value: onnx.ValueInfoProto) -> TensorSpec:
        tensor = value.type.tensor_type
        dtype = element_type(tensor.elem_type)
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim)
        return TensorSpec(value.name, {"float": "float32", "double": "float64"}.get(dtype, dtype), shape)

    weights = {initializer.name for initializer in model.graph.initializer}
    return Signature(
        tuple(spec(value) for value in model.graph.input if value.name not in weights),
        tuple(spec(value) for value in model.graph.output),
    )
