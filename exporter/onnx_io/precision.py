"""The precision that an ONNX graph computes in."""

from collections.abc import Sequence
from pathlib import Path

from onnx import AttributeProto, NodeProto, TensorProto

from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.subgraphs import all_graphs, needed_nodes
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

BYTES = (TensorProto.INT8, TensorProto.UINT8)


def detect_precision(path: Path) -> Precision:
    """Return the lowest precision that a model's outputs go through, by its weights, casts and signature.

    Nodes that no output depends on and weights that no node reads do not count: they would only loosen the tolerance.
    Nor do vectors: a bias in half precision does not make a network one of half precision.

    Raises:
        ArtifactError: unreadable, or not ONNX.
    """
    model = load_without_weights(path)
    nodes = needed_nodes(model)
    used = {name for node in nodes for name in node.input}
    weights = [tensor for graph in all_graphs(model.graph) for tensor in graph.initializer if tensor.name in used]
    vectors = {tensor.name for tensor in weights if len(tensor.dims) <= 1}
    if any(_is_quantised(node) and not vectors & {*node.input[:1]} for node in nodes):
        return "int8"
    if _has_scaled_bytes(nodes, weights):
        return "int8"
    constants = [
        attribute.t for node in nodes for attribute in node.attribute if attribute.type == AttributeProto.TENSOR
    ]
    found = {tensor.data_type for tensor in (*weights, *constants) if len(tensor.dims) > 1}
    casts = {attribute.i for node in nodes if node.op_type == "Cast" for attribute in node.attribute}
    found |= casts & {TensorProto.FLOAT16, TensorProto.BFLOAT16}
    found |= {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    for element_type, name in PRECISION_ORDER:
        if element_type in found:
            return name
    return "float32"


def _is_quantised(node: NodeProto) -> bool:
    return any(word in node.op_type.lower() for word in QUANTISED)


def _has_scaled_bytes(nodes: Sequence[NodeProto], weights: Sequence[TensorProto]) -> bool:
    """Return whether weights in 8 bits are cast and multiplied by a scale, as `compress-weights` stores convolutions.

    A vector is not enough: a table or mask in 8 bits would loosen the tolerance.
    """
    stored = {tensor.name for tensor in weights if tensor.data_type in BYTES and len(tensor.dims) > 1}
    cast = {node.output[0] for node in nodes if node.op_type == "Cast" and stored & {*node.input}}
    scales = {tensor.name for tensor in weights if tensor.data_type not in BYTES}
    return any(node.op_type == "Mul" and cast & {*node.input} and scales & {*node.input} for node in nodes)
