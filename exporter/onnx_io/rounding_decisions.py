"""Nodes whose results jump: where rounding comes before them, a graph without rounding may return something else."""

from __future__ import annotations

from pathlib import Path

from onnx import NodeProto, TensorProto

from exporter.onnx_io.attributes import get_attributes
from exporter.onnx_io.dtypes import FLOAT_TYPES
from exporter.onnx_io.file_graph import FileGraph
from exporter.onnx_io.stored_weights import HALVES
from exporter.onnx_io.subgraphs import captured_values

DECISIONS = frozenset(
    """ArgMax ArgMin BitShift Ceil Compress Equal Floor Greater GreaterOrEqual Hardmax If IsInf IsNaN Less LessOrEqual
    Loop Mod NonMaxSuppression NonZero Round Scan Sign TopK Unique""".split()  # noqa: SIM905 - a list has a line for each
)
"""Operators whose results are no continuous functions of their inputs, and those that contain graphs."""
ROUNDED = (*HALVES, TensorProto.INT8, TensorProto.UINT8)
"""Types of tensors that hold rounded numbers."""


def find_rounding_decision(path: Path) -> str | None:
    """Return the first node that decides on numbers which depend on rounding in fewer bits than float32; None without.

    Raises:
        ArtifactError: unreadable, or not ONNX.
    """
    graph = FileGraph.load(path)
    rounded = {name for name, tensor in graph.named_tensors if tensor.data_type in ROUNDED}
    for node in graph.model.graph.node:
        depends = not rounded.isdisjoint((*node.input, *captured_values(node)))
        if depends and _decides(node):
            return f"{node.name or node.output[0]} ({node.op_type})"
        if depends or _rounds(node):
            rounded |= {*node.output} - {""}
    return None


def _decides(node: NodeProto) -> bool:
    if node.op_type == "Cast":
        return get_attributes(node).get("to") not in (*FLOAT_TYPES, TensorProto.STRING)
    return node.op_type in DECISIONS


def _rounds(node: NodeProto) -> bool:
    if node.op_type == "Cast":
        return get_attributes(node).get("to") in HALVES
    return node.op_type in ("CastLike", "QuantizeLinear", "DynamicQuantizeLinear")
