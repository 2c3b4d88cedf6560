"""Weights that an ONNX file stores in fewer bits than it computes with: it only casts or dequantises them.

Of *half* weights (float16, bfloat16) that is a `Cast` to float32 or float64. Of *bytes* (int8, uint8) it is a
`DequantizeLinear`, or a `Cast` whose result is multiplied by a constant scale, as `compress-weights` stores them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from exporter.onnx_io.file_graph import FileGraph, find_tensors
from exporter.onnx_io.load import INLINE_BELOW, load_with_weights
from exporter.onnx_io.subgraphs import all_graphs
from exporter.onnx_io.weights import read_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
WIDE = (TensorProto.FLOAT, TensorProto.DOUBLE)
BYTES = (TensorProto.INT8, TensorProto.UINT8)
DATA_FILE = "weights.data"


def widened_weights(path: Path) -> frozenset[str]:
    """Return the hashes of the float16 and bfloat16 weights that a model only casts to float32 or float64.

    Such a model computes in float32: these weights have exactly the numbers that it computes with.

    Raises:
        ArtifactError: unreadable, or not ONNX.
    """
    return frozenset(hash_widened(FileGraph.load(path)).values())


def find_stored_weights(path: Path, exact: frozenset[str] = frozenset()) -> frozenset[str]:
    """Return the names of the weights that a model stores in fewer bits than it computes with.

    Args:
        path: the model file.
        exact: weights that do not count, as `widened_weights` names them.

    Raises:
        ArtifactError: unreadable, or not ONNX.
    """
    graph = FileGraph.load(path)
    halves = {name for name, digest in hash_widened(graph).items() if digest not in exact}
    return frozenset(halves | scaled_bytes(graph) | dequantised_bytes(graph))


def write_changed(
    path: Path, change: Callable[[NDArray[Any]], NDArray[Any]], folder: Path, *, names: frozenset[str]
) -> Path:
    """Write a copy of a model with other numbers in some of its weights into `folder`, and return its path.

    Args:
        path: the model file.
        change: from a weight's numbers to those of the copy, of the same dtype and shape.
        folder: where to; a copy that is there is overwritten.
        names: the weights.

    Raises:
        ArtifactError: unreadable, or not ONNX.
    """
    model = load_with_weights(path)
    for name, tensor in find_tensors(model, [node for graph in all_graphs(model.graph) for node in graph.node]):
        if name in names:
            values = change(numpy_helper.to_array(tensor))
            for field in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(field)
            tensor.raw_data = values.tobytes()
    copy = folder / path.name
    (folder / DATA_FILE).unlink(missing_ok=True)  # onnx appends to one that is there
    onnx.save(model, copy, save_as_external_data=True, location=DATA_FILE, size_threshold=INLINE_BELOW)
    return copy


def hash_widened(graph: FileGraph) -> dict[str, str]:
    """Return {name: hash of type, shape and numbers} of the half weights that are only cast to a wider type."""
    outputs = {value.name for inner in all_graphs(graph.model.graph) for value in inner.output}
    wanted = {
        name: tensor
        for name, tensor in graph.named_tensors
        if tensor.data_type in HALVES and name not in outputs and name in graph.readers
        if all(map(_widens, graph.readers[name]))
    }
    return {name: _hash(array) for name, array in read_weights(graph.model, wanted, graph.path)} if wanted else {}


def scaled_bytes(graph: FileGraph) -> set[str]:
    """Return the weights in 8 bits that are cast and multiplied by a constant scale.

    A vector is not enough: a table or mask in 8 bits would loosen the tolerance.
    """
    used = [tensor for tensor in graph.initializers if tensor.name in graph.readers]
    scales = {tensor.name for tensor in used if tensor.data_type not in BYTES}

    def is_scaled(name: str) -> bool:
        casts = [node.output[0] for node in graph.readers[name] if node.op_type == "Cast"]
        products = [node for cast in casts for node in graph.readers.get(cast, []) if node.op_type == "Mul"]
        return any(not scales.isdisjoint(node.input) for node in products)

    stored = [tensor for tensor in used if tensor.data_type in BYTES and len(tensor.dims) > 1]
    return {tensor.name for tensor in stored if is_scaled(tensor.name)}


def dequantised_bytes(graph: FileGraph) -> set[str]:
    """Return the weights in 8 bits that are only read by `DequantizeLinear`."""
    stored = [name for name, tensor in graph.named_tensors if tensor.data_type in BYTES and name in graph.readers]
    return {
        name
        for name in stored
        if all(node.op_type == "DequantizeLinear" and node.input[0] == name for node in graph.readers[name])
    }


def _widens(node: NodeProto) -> bool:
    return node.op_type == "Cast" and any(attribute.i in WIDE for attribute in node.attribute if attribute.name == "to")


def _hash(array: NDArray[Any]) -> str:
    return hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + array.tobytes()).hexdigest()
