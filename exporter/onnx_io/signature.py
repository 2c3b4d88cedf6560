"""Inputs and outputs of an ONNX graph."""

from pathlib import Path

import onnx

from exporter.onnx_io.dtypes import dtype_name
from exporter.onnx_io.load import load_without_weights
from exporter.types import UNKNOWN_RANK
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
        tuple(_spec(value, is_input=True) for value in model.graph.input if value.name not in weights),
        tuple(_spec(value) for value in model.graph.output),
    )


def free_size(size: int | str | None) -> int | str:
    """Return a size of a shape: a positive number, or the name of a dynamic size (`?` where it has none).

    Existing files also write a dynamic size as -1 or 0. A 0 is named `0`, because in some files the size is zero.
    """
    if isinstance(size, int):
        return size if size > 0 else "0" if size == 0 else "?"
    return size or "?"


def _spec(value: onnx.ValueInfoProto, *, is_input: bool = False) -> TensorSpec:
    """Return an input or output; of a sequence or optional value, the shape is that of its items.

    An input whose shape is not stated has an unknown rank, and not rank 0.
    """
    kind = _tensor_type(value.type)
    dims = kind.shape.dim
    sizes = tuple(free_size(dim.dim_value if dim.HasField("dim_value") else dim.dim_param) for dim in dims)
    sizes = ("?", UNKNOWN_RANK) if is_input and not kind.HasField("shape") else sizes
    return TensorSpec(value.name, _type_name(value.type), sizes)


def _tensor_type(kind: onnx.TypeProto) -> onnx.TypeProto.Tensor:
    """Return the type of a tensor, or of the tensors in a sequence or optional value."""
    if kind.HasField("sequence_type"):
        return _tensor_type(kind.sequence_type.elem_type)
    if kind.HasField("optional_type"):
        return _tensor_type(kind.optional_type.elem_type)
    return kind.tensor_type


def _type_name(kind: onnx.TypeProto) -> str:
    """Return `seq(float32)`, `optional(seq(int64))` or `float32`."""
    if kind.HasField("sequence_type"):
        return f"seq({_type_name(kind.sequence_type.elem_type)})"
    if kind.HasField("optional_type"):
        return f"optional({_type_name(kind.optional_type.elem_type)})"
    if kind.HasField("tensor_type"):
        return dtype_name(kind.tensor_type.elem_type)
    return (kind.WhichOneof("value") or "undefined").removesuffix("_type")
