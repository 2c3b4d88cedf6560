"""Inputs and outputs of an ONNX graph."""

from pathlib import Path

import onnx

from exporter.onnx_io.dtypes import dtype_name
from exporter.onnx_io.load import load_without_weights
from models.specs import Signature, TensorSpec


def read_signature(path: Path) -> Signature:
    """Return the inputs and outputs that the graph of an ONNX file declares.

    Raises:
        ArtifactError: unreadable, or not ONNX.
    """
    return get_signature(load_without_weights(path))


def get_signature(model: onnx.ModelProto) -> Signature:
    """Return the inputs and outputs that a graph declares; an initialiser that is an input too is not listed."""
    weights = {initializer.name for initializer in model.graph.initializer}
    return Signature(
        tuple(_spec(value) for value in model.graph.input if value.name not in weights),
        tuple(_spec(value) for value in model.graph.output),
    )


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim)
    return TensorSpec(value.name, dtype_name(tensor.elem_type), shape)
