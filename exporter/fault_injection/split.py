"""Reads an ONNX artifact apart: the graph without weights, and the weights in one file that all copies share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from exporter.fault_injection.graph import Layer, OriginalGraph, attributes_of
from exporter.onnx_io.graph import load_with_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATA = "weights.data"
ALIGNMENT = 4096
"""Of each tensor in the data file, so that engines can map it."""
SMALL = 1024
"""Tensors of fewer bytes (shapes, scalars) stay inside the graph."""
CONVOLUTION_RANK = 3
"""A convolution's weight has more axes than (out, in)."""


def split_model(path: Path, folder: Path) -> OriginalGraph:
    """Copy a model into `folder`: graph and weights in a file each.

    Raises:
        ArtifactError: unreadable.
    """
    model = load_with_weights(path)
    _hoist_constants(model.graph)
    places: dict[str, tuple[int, TensorProto]] = {}
    with (folder / DATA).open("wb") as stream:
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.nbytes < SMALL:
                continue
            stream.write(bytes(-stream.tell() % ALIGNMENT))
            places[tensor.name] = (stream.tell(), tensor)
            stream.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    for tensor in model.graph.initializer:
        if tensor.name in places:
            _refer(tensor, places[tensor.name][0])
    del model.graph.value_info[:]
    weights: dict[str, NDArray[Any]] = {}
    for tensor in model.graph.initializer:
        if tensor.name in places:
            dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
            start = places[tensor.name][0]
            weights[tensor.name] = np.memmap(folder / DATA, dtype, "r", start, tuple(tensor.dims))
        else:
            weights[tensor.name] = numpy_helper.to_array(tensor)
    graph = OriginalGraph(model, folder, weights, tuple(_layers(model.graph, weights)))
    graph.path.write_bytes(model.SerializeToString())
    graph.exposed.write_bytes(_exposed(model).SerializeToString())
    return graph


def _exposed(model: onnx.ModelProto) -> onnx.ModelProto:
    every = onnx.ModelProto()
    every.CopyFrom(model)
    stated = {output.name: output for output in model.graph.output}
    computed = [name for node in model.graph.node for name in node.output if name]
    del every.graph.output[:]
    every.graph.output.extend(stated.get(name, onnx.ValueInfoProto(name=name)) for name in dict.fromkeys(computed))
    return every


def _hoist_constants(graph: onnx.GraphProto) -> None:
    """Turn Constant nodes that hold a tensor into initializers, which is what most exporters write."""
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        value = attributes_of(node).get("value")
        if isinstance(value, TensorProto):
            value.name = node.output[0]
            graph.initializer.append(value)
            graph.node.remove(node)


def _refer(tensor: TensorProto, offset: int) -> None:
    size = int(np.prod(tensor.dims)) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    kept = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    kept.data_location = TensorProto.EXTERNAL
    for key, value in {"location": DATA, "offset": offset, "length": size}.items():
        kept.external_data.add(key=key, value=str(value))
    tensor.CopyFrom(kept)


def _layers(graph: onnx.GraphProto, weights: Mapping[str, NDArray[Any]]) -> Iterator[Layer]:
    readers = {name: node for node in graph.node for name in node.input}
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2 or node.input[1] not in weights:
            continue
        weight, rank = node.input[1], weights[node.input[1]].ndim
        bias = node.input[2] if len(node.input) > 2 else None
        value = node.output[0]
        behind = readers.get(value)
        if node.op_type == "MatMul" and behind is not None and behind.op_type == "Add":
            bias = next((name for name in behind.input if name in weights), None)
            value = behind.output[0] if bias else value
        conv = node.op_type == "Conv" and rank >= CONVOLUTION_RANK
        turned = not conv and not (node.op_type == "Gemm" and attributes_of(node).get("transB"))
        name = weight.removesuffix(".weight")
        kind = "conv" if conv else "linear"
        yield Layer(name, kind, weight, bias if bias in weights else None, value, node.output[0], turned)
