"""ONNX graphs as the engines need them: with every value exposed, or with every number in one format."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, numpy_helper

from exporter.errors import ArtifactError
from exporter.results import Precision
from models.specs import Signature, TensorSpec

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
TARGETS: dict[Literal["float32", "float64"], int] = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
MAX_BYTES = 2**31 - 1
"""Protobuf's own limit, which a model in memory must keep."""
PRECISION_ORDER: tuple[tuple[set[int], Precision], ...] = (
    ({TensorProto.BFLOAT16}, "bfloat16"),
    ({TensorProto.FLOAT16}, "float16"),
    ({TensorProto.FLOAT}, "float32"),
    ({TensorProto.DOUBLE}, "float64"),
)
QUANTISED = ("quantize", "integer", "qlinear", "nbits", "qattention", "qgemm")
"""What is in the name, in small letters, of every operator that computes with integers in place of floats, in ONNX's
domains and onnxruntime's."""
DTYPES = {"float": "float32", "double": "float64"}


def detect_precision(path: Path) -> Precision:
    """Return the coarsest number format that a model's answer goes through, as its weights, casts and signature state.

    Weights that no node reads do not count: they would only loosen the verdict.

    Raises:
        ArtifactError: unreadable.
    """
    model = load_graph(path)
    nodes = list(_nodes(model))
    if any(word in node.op_type.lower() for node in nodes for word in QUANTISED):
        return "int8"
    read = {name for node in nodes for name in node.input}
    stored = [t for graph in _graphs(model.graph) for t in graph.initializer if t.name in read and t.dims]
    held = {tensor.data_type for tensor in stored}
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR and attribute.t.dims:
                held.add(attribute.t.data_type)
            if node.op_type == "Cast" and attribute.name == "to":
                held |= {attribute.i} & {TensorProto.FLOAT16, TensorProto.BFLOAT16}
    held |= {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    for kinds, name in PRECISION_ORDER:
        if held & kinds:
            return name
    return "float32"


def load_graph(path: Path) -> onnx.ModelProto:
    """Load a model without its external data.

    Raises:
        ArtifactError: unreadable.
    """
    return _load(path, whole=False)


def load_with_weights(path: Path) -> onnx.ModelProto:
    """Load a model with its external data.

    Raises:
        ArtifactError: unreadable.
    """
    return _load(path, whole=True)


def external_files(path: Path) -> tuple[Path, ...]:
    """Return the files beside a model that hold weights of it, by name.

    Raises:
        ArtifactError: unreadable.
    """
    tensors = [tensor for graph in _graphs(load_graph(path).graph) for tensor in graph.initializer]
    named = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    return tuple(path.parent / name for name in sorted(named))


def with_all_outputs(path: Path, *, whole: bool = True) -> bytes:
    """Return the model with every value that depends on its inputs as an output, in the order computed.

    Args:
        path: the model.
        whole: with the weights of its data files inside; else the model goes on referring to them, for an engine that
            is told their folder. What lies in the model file itself is always inside: nothing aligns it there, so no
            engine could map it.

    Raises:
        ArtifactError: unreadable, or too large to be held as one message.
    """
    model = _load(path, whole=whole)
    stated = {output.name: output for output in model.graph.output}
    computed = intermediate_names(model.graph)
    every = [stated.get(name, onnx.ValueInfoProto(name=name)) for name in dict.fromkeys([*computed, *stated])]
    del model.graph.output[:]
    model.graph.output.extend(every)
    if model.ByteSize() > MAX_BYTES:
        raise ArtifactError(f"{path}: larger than 2 GB, so its intermediate values cannot be exposed")
    return model.SerializeToString()


def intermediate_names(graph: onnx.GraphProto) -> list[str]:
    """Return the values of a main graph that depend on its inputs, in the order computed: no constants, no sizes."""
    weights = {tensor.name for tensor in graph.initializer}
    moving = {value.name for value in graph.input} - weights
    reported: list[str] = []
    for node in graph.node:
        inner = {name for deeper in _nodes_of(_subgraphs([node])) for name in deeper.input}
        if moving.isdisjoint({*node.input, *inner}) or node.op_type in ("Shape", "Size"):
            continue
        reported += [name for name in node.output if name]
        moving |= {name for name in node.output if name}
    return reported


def cast_model(model: onnx.ModelProto, to: Literal["float32", "float64"]) -> onnx.ModelProto:
    """Return a model with every floating-point weight, constant, cast and signature in one format.

    A float32, float16 or bfloat16 number is exactly a wider one, so in float64 this is the same function without the
    rounding. Local functions are written out first. The model given may be changed.
    """
    if model.functions:
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    target = TARGETS[to]
    for graph in _graphs(model.graph):
        for tensor in graph.initializer:
            _cast_tensor(tensor, target)
        for node in graph.node:
            for attribute in node.attribute:
                _cast_attribute(node, attribute, target)
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type in FLOATS:
                value.type.tensor_type.elem_type = target
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


def _load(path: Path, *, whole: bool) -> onnx.ModelProto:
    try:
        return onnx.load(str(path), load_external_data=whole)
    except Exception as error:  # protobuf, onnx and the file system share no base class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArtifactError(f"{path}: cannot be loaded as ONNX: {reason}") from error


def _cast_attribute(node: onnx.NodeProto, attribute: AttributeProto, target: int) -> None:
    """Convert what a node's attribute holds: a tensor, a list of numbers, the dtype that it makes."""
    if attribute.type == AttributeProto.TENSOR:
        _cast_tensor(attribute.t, target)
    elif attribute.name in ("to", "dtype") and attribute.type == AttributeProto.INT and attribute.i in FLOATS:
        attribute.i = target
    elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
        numbers: Any = attribute.f if attribute.name == "value_float" else list(attribute.floats)
        tensor = numpy_helper.from_array(np.array(numbers, np.float32))
        _cast_tensor(tensor, target)
        attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))


def _cast_tensor(tensor: TensorProto, target: int) -> None:
    if tensor.data_type in FLOATS and tensor.data_type != target:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(target)
        array: Any = numpy_helper.to_array(tensor).astype(dtype)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield every node, those of loops, branches and local functions too."""
    yield from _nodes_of([model.graph])
    for function in model.functions:
        yield from function.node
        yield from _nodes_of(_subgraphs(function.node))


def _nodes_of(graphs: Iterable[onnx.GraphProto]) -> Iterator[onnx.NodeProto]:
    for outer in graphs:
        for graph in _graphs(outer):
            yield from graph.node


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for inner in _subgraphs(graph.node):
        yield from _graphs(inner)


def _subgraphs(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)
