"""onnx's shape inference on a message, watched: it recurses into graphs and functions of untrusted files."""

from __future__ import annotations

import onnx
from onnx import helper
from onnx.external_data_helper import uses_external_data

from exporter.isolation.worker import native_call
from exporter.onnx_io.ceil_pools import POOLS, with_explicit_ceil_pools
from exporter.onnx_io.subgraphs import all_graphs


def infer_shapes(model: onnx.ModelProto, *, strict_mode: bool = False, data_prop: bool = False) -> onnx.ModelProto:
    """Return a copy of a model with what onnx infers of its values' types and shapes.

    Args:
        model: the model, of less than 2 GiB.
        strict_mode: raise an error where something contradicts; otherwise it is left out.
        data_prop: also compute the values of small constants, of which those in a file (external data) are not read.

    Raises:
        InferenceError, RuntimeError, ValueError: as onnx does.
    """
    with native_call("onnx's shape inference"):
        inferred = onnx.shape_inference.infer_shapes(
            _without_external(with_explicit_ceil_pools(model)), strict_mode=strict_mode, data_prop=data_prop
        )
    if len(inferred.graph.initializer) < len(model.graph.initializer):
        del inferred.graph.input[len(model.graph.input) :]
        del inferred.graph.initializer[:]
        inferred.graph.initializer.extend(model.graph.initializer)
    for graph, original in zip(all_graphs(inferred.graph), all_graphs(model.graph), strict=True):
        for node, given in zip(graph.node, original.node, strict=True):
            if given.op_type in POOLS:
                node.CopyFrom(given)
    return inferred


def _without_external(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model, or where it has any a copy with external weights as inputs: onnx would need their values."""
    external = [tensor for tensor in model.graph.initializer if uses_external_data(tensor)]
    if not external:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept = [tensor for tensor in model.graph.initializer if not uses_external_data(tensor)]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(kept)
    declared = {value.name for value in model.graph.input}
    copy.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in external
        if tensor.name not in declared
    )
    return copy
