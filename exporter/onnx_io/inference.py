"""onnx's shape inference on a message, watched: it recurses into graphs and functions of untrusted files."""

from __future__ import annotations

import onnx

from exporter.isolation.worker import native_call
from exporter.onnx_io.ceil_pools import POOLS, with_explicit_ceil_pools
from exporter.onnx_io.subgraphs import all_graphs


def infer_shapes(model: onnx.ModelProto, *, strict_mode: bool = False, data_prop: bool = False) -> onnx.ModelProto:
    """Return a copy of a model with what onnx infers of its values' types and shapes.

    Args:
        model: the model, of less than 2 GiB.
        strict_mode: raise an error where something contradicts; otherwise it is left out.
        data_prop: also compute the values of small constants.

    Raises:
        InferenceError, RuntimeError, ValueError: as onnx does.
    """
    with native_call("onnx's shape inference"):
        inferred = onnx.shape_inference.infer_shapes(
            with_explicit_ceil_pools(model), strict_mode=strict_mode, data_prop=data_prop
        )
    for graph, original in zip(all_graphs(inferred.graph), all_graphs(model.graph), strict=True):
        for node, given in zip(graph.node, original.node, strict=True):
            if given.op_type in POOLS:
                node.CopyFrom(given)
    return inferred
