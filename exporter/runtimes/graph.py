"""ONNX graphs as the engines need them: with every value exposed, or with every number in float64."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper

from exporter.errors import ArtifactError
from exporter.types import Signature, TensorSpec
from exporter.verdicts import Arithmetic

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
MOST_BYTES = 2**31 - 1
"""Protobuf's own limit, which a model in memory must keep."""
COARSEST: tuple[tuple[set[int], Arithmetic], ...] = (
    ({TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4}, "int8"),
    ({TensorProto.BFLOAT16}, "bfloat16"),
    ({TensorProto.FLOAT16}, "float16"),
    ({TensorProto.FLOAT}, "float32"),
    ({TensorProto.DOUBLE}, "float64"),
)
DTYPES = {"float": "float32", "double": "float64"}


def arithmetic_of(path: Path) -> Arithmetic:
    """Return the coarsest number format of a model's weights, as a file's initialisers state it.

    Raises:
        ArtifactError: unreadable.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf, onnx and the file system share no base class
        raise ArtifactError(f"{path}: cannot be loaded as ONNX: {str(error).splitlines()[0]}") from error
    held = {tensor.data_type for graph in _graphs(model.graph) for tensor in graph.initializer if tensor.dims}
    for kinds, name in COARSEST:
        if held & kinds:
            return name
    return "float32"


def load_whole(path: Path) -> onnx.ModelProto:
    """Load a model with its external data.

    Raises:
        ArtifactError: unreadable.
    """
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf, onnx and the file system share no base class
        raise ArtifactError(f"{path}: cannot be loaded as ONNX: {str(error).splitlines()[0]}") from error


def exposed(path: Path) -> bytes:
    """Return the model with every value of its main graph as an output, in the order computed.

    Raises:
        ArtifactError: unreadable, or too large to be held as one message.
    """
    model = load_whole(path)
    stated = {output.name: output for output in model.graph.output}
    computed = [name for node in model.graph.node for name in node.output if name]
    every = [stated.get(name, onnx.ValueInfoProto(name=name)) for name in dict.fromkeys([*computed, *stated])]
    del model.graph.output[:]
    model.graph.output.extend(every)
    if model.ByteSize() > MOST_BYTES:
        raise ArtifactError(f"{path}: larger than 2 GB, so its intermediate values cannot be exposed")
    return model.SerializeToString()


def to_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn every floating-point weight, constant, cast and signature of a model into float64, in place.

    A float32, float16 or bfloat16 number is exactly a float64 one, so this is the same function without the rounding.
    """
    for graph in _graphs(model.graph):
        for tensor in graph.initializer:
            _widen(tensor)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR:
                    _widen(attribute.t)
                if node.op_type == "Cast" and attribute.name == "to" and attribute.i in FLOATS:
                    attribute.i = TensorProto.DOUBLE
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type in FLOATS:
                value.type.tensor_type.elem_type = TensorProto.DOUBLE
        del graph.value_info[:]
    return model


def signature_of(model: onnx.ModelProto) -> Signature:
    """Return a graph's inputs and outputs, as its own types state them."""

    def spec(value: onnx.ValueInfoProto) -> TensorSpec:
        tensor = value.type.tensor_type
        dtype = TensorProto.DataType.Name(tensor.elem_type).lower()
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim)
        return TensorSpec(value.name, DTYPES.get(dtype, dtype), shape)

    weights = {initializer.name for initializer in model.graph.initializer}
    return Signature(
        tuple(spec(value) for value in model.graph.input if value.name not in weights),
        tuple(spec(value) for value in model.graph.output),
    )


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type in FLOATS:
        array: Any = numpy_helper.to_array(tensor).astype("float64")
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(inner)
