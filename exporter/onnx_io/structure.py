"""A digest of what a model computes, whatever its weights: the same for two checkpoints of one network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import onnx

from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.subgraphs import all_graphs


def structure_digest(path: Path) -> str:
    """Return a digest of a model's operators, attributes, connections, inputs, and shapes and types of its weights.

    Raises:
        ArtifactError: unreadable, or not ONNX.
    """
    digest = hashlib.sha256()
    for text in _describe(load_without_weights(path)):
        digest.update(text)
    return digest.hexdigest()[:32]


def _describe(model: onnx.ModelProto) -> Iterator[bytes]:
    for opset in model.opset_import:
        yield f"{opset.domain} {opset.version};".encode()
    graphs = [*all_graphs(model.graph)]
    for graph in graphs:
        for value in (*graph.input, *graph.output):
            yield value.name.encode() + value.type.SerializeToString(deterministic=True)
        for tensor in graph.initializer:
            yield f"{tensor.name} {tensor.data_type} {[*tensor.dims]};".encode()
    for nodes in (*(graph.node for graph in graphs), *(function.node for function in model.functions)):
        for node in nodes:
            yield f"{node.domain} {node.op_type} {[*node.input]} {[*node.output]}".encode()
            for attribute in node.attribute:
                if attribute.type not in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.TENSOR):
                    yield attribute.SerializeToString(deterministic=True)
