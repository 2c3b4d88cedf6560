"""Reads an ONNX artifact apart: the graph without weights, and the weights in one file that all copies share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from exporter.fault_injection.graph import Layer, OriginalGraph, get_attributes
from exporter.onnx_io.all_outputs import set_outputs
from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.reader import read_model
from exporter.onnx_io.writer import write_onnx

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONVOLUTION_RANK = 3
"""A convolution's weight has more axes than (out, in)."""


def split_model(path: Path, folder: Path) -> OriginalGraph:
    """Copy a model into `folder`: graph and weights in a file each.

    Raises:
        ArtifactError: unreadable, or rejected by onnx's checker.
    """
    model = read_model(path)
    LiftConstantsToInitializersPass(lift_all_constants=False, size_limit=0)(model)
    split, _ = write_onnx(model, folder, "split.onnx", external_data=True)
    mapped, proto = read_model(split), load_without_weights(split)
    del proto.graph.value_info[:]
    weights: dict[str, NDArray[Any]] = {
        name: value.const_value.numpy()
        for name, value in mapped.graph.initializers.items()
        if value.const_value is not None
    }
    graph = OriginalGraph(proto, folder, weights, tuple(_layers(proto.graph, weights)))
    graph.path.write_bytes(proto.SerializeToString())
    exposed = onnx.ModelProto()
    exposed.CopyFrom(proto)
    set_outputs(exposed, [name for node in proto.graph.node for name in node.output if name])
    graph.all_outputs.write_bytes(exposed.SerializeToString())
    return graph


def _layers(graph: onnx.GraphProto, weights: Mapping[str, NDArray[Any]]) -> Iterator[Layer]:
    readers = {name: node for node in graph.node for name in node.input}
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2 or node.input[1] not in weights:
            continue
        weight, rank = node.input[1], weights[node.input[1]].ndim
        bias = node.input[2] if len(node.input) > 2 else None
        value = node.output[0]
        insert_after = readers.get(value)
        if node.op_type == "MatMul" and insert_after is not None and insert_after.op_type == "Add":
            bias = next((name for name in insert_after.input if name in weights), None)
            value = insert_after.output[0] if bias else value
        conv = node.op_type == "Conv" and rank >= CONVOLUTION_RANK
        turned = not conv and not (node.op_type == "Gemm" and get_attributes(node).get("transB"))
        name = weight.removesuffix(".weight")
        kind = "conv" if conv else "linear"
        yield Layer(name, kind, weight, bias if bias in weights else None, value, node.output[0], turned)
