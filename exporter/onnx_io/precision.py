"""The precision that an ONNX graph computes in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnx import AttributeProto, NodeProto, TensorProto

from exporter.onnx_io.file_graph import FileGraph
from exporter.onnx_io.stored_weights import HALVES, dequantised_bytes, hash_widened, scaled_bytes
from exporter.results import Precision

PRECISION_ORDER: tuple[tuple[int, Precision], ...] = (
    (TensorProto.BFLOAT16, "bfloat16"),
    (TensorProto.FLOAT16, "float16"),
    (TensorProto.FLOAT, "float32"),
    (TensorProto.DOUBLE, "float64"),
)
"""Lowest precision first."""
QUANTISED = ("quantize", "integer", "qlinear", "nbits", "qattention", "qgemm")
"""Parts of the lower-case names of operators that compute with integers instead of floats, in ONNX's
domains and onnxruntime's."""

STORES_ONLY = ("dequantize", "nbits", "blockquantized")
"""Parts of those of them that read weights in integers and compute in floats."""


def detect_precision(path: Path, exact: frozenset[str] = frozenset()) -> Precision:
    """Return the lowest precision that a model's outputs go through, by its weights, casts and signature.

    Nodes that no output depends on and weights that no node reads do not count: they would only loosen the tolerance.
    Nor do vectors: a bias in half precision does not make a network one of half precision.

    Args:
        path: the model file.
        exact: weights that do not count, as `widened_weights` names them: what the model is compared with has the same
            numbers, so that nothing is lost by the way they are stored.

    Raises:
        ArtifactError: unreadable, or not ONNX.
    """
    graph = FileGraph.load(path)
    if exact:
        graph = _without(exact, graph)
    weights = [tensor for tensor in graph.initializers if tensor.name in graph.readers]
    vectors = {tensor.name for tensor in weights if len(tensor.dims) <= 1}
    if any(_is_quantised(node) and not vectors & {*node.input[:1]} for node in graph.nodes) or scaled_bytes(graph):
        return "int8"
    return _lowest_float(graph, graph.nodes, weights)


def detect_computed_precision(path: Path) -> Precision:
    """Return the lowest precision that a model computes in: weights do not count that are only stored in fewer bits.

    Such weights are cast to float32, or dequantised, before anything is computed with them. Dequantising what depends
    on the inputs is arithmetic in int8, whatever made it.

    Raises:
        ArtifactError: unreadable, or not ONNX.
    """
    graph = FileGraph.load(path)
    stored = _constants(graph)
    if any(_is_quantised(node) and not (_has_word(node, STORES_ONLY) and _reads(node, stored)) for node in graph.nodes):
        return "int8"
    widened = hash_widened(graph)
    weights = [tensor for tensor in graph.initializers if tensor.name in graph.readers and tensor.name not in widened]
    return _lowest_float(graph, [node for node in graph.nodes if not {*node.output} & widened.keys()], weights)


def _lowest_float(graph: FileGraph, nodes: Sequence[NodeProto], weights: Sequence[TensorProto]) -> Precision:
    """Return the lowest floating-point type of matrices, casts, inputs and outputs."""
    constants = [
        attribute.t for node in nodes for attribute in node.attribute if attribute.type == AttributeProto.TENSOR
    ]
    found = {tensor.data_type for tensor in (*weights, *constants) if len(tensor.dims) > 1}
    casts = {attribute.i for node in nodes if node.op_type == "Cast" for attribute in node.attribute}
    types = {name: tensor.data_type for name, tensor in graph.tensors.items()}
    types |= {node.output[0]: given.t.data_type for node in nodes for given in node.attribute if given.HasField("t")}
    like = {types.get(name, 0) for node in nodes if node.op_type == "CastLike" for name in node.input[1:]}
    found |= (casts | like) & {*HALVES}
    found |= {value.type.tensor_type.elem_type for value in (*graph.model.graph.input, *graph.model.graph.output)}
    for element_type, name in PRECISION_ORDER:
        if element_type in found:
            return name
    return "float32"


def _constants(graph: FileGraph) -> set[str]:
    """Return the values that depend on weights and constants only."""
    found = {tensor.name for tensor in graph.initializers}
    inputs = {value.name for value in graph.model.graph.input} - found
    before = -1
    while before != len(found):
        before = len(found)
        for node in graph.nodes:
            if {*node.input} - {""} <= found and not any(given.HasField("g") for given in node.attribute):
                found |= {*node.output} - inputs
    return found


def _reads(node: NodeProto, names: set[str]) -> bool:
    """Return whether one of the first inputs, data or stored weights, is among these values.

    Operators with a matrix product (`MatMulNBits`) have the weights second; a `DequantizeLinear` has its scale there.
    """
    return not {*node.input[: 1 if "dequantize" in node.op_type.lower() else 2]}.isdisjoint(names)


def _without(exact: frozenset[str], graph: FileGraph) -> FileGraph:
    """Return a graph without the weights that are the same elsewhere; they are taken out of its model."""
    names = {name for name, digest in hash_widened(graph).items() if digest in exact}
    weights = graph.model.graph.initializer
    kept = [tensor for tensor in weights if tensor.name not in names]
    del weights[:]
    weights.extend(kept)
    nodes = [node for node in graph.nodes if node.op_type != "Constant" or node.output[0] not in names]
    return FileGraph(graph.path, graph.model, nodes)


def _is_quantised(node: NodeProto) -> bool:
    return _has_word(node, QUANTISED)


def _has_word(node: NodeProto, words: Sequence[str]) -> bool:
    return any(word in node.op_type.lower() for word in words)


def only_stores(path: Path) -> bool:
    """Return whether the weights in fewer bits are all stored in a way of which `find_stored_weights` gives the names.

    Packed ones (`MatMulNBits`, int4) are not.

    Raises:
        ArtifactError: unreadable, or not ONNX.
    """
    if detect_computed_precision(path) not in ("float32", "float64"):
        return False
    graph = FileGraph.load(path)
    known = dequantised_bytes(graph)
    return all(node.input[0] in known for node in graph.nodes if _is_quantised(node))
