"""onnx's shape inference on a message, watched: it recurses into graphs and functions of untrusted files."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper
from onnx.external_data_helper import uses_external_data

from exporter.isolation.worker import native_call
from exporter.onnx_io.ceil_pools import POOLS, with_explicit_ceil_pools
from exporter.onnx_io.dtypes import FLOAT_TYPES
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


def infer_element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Return {value: ONNX element type}, of inner graphs too; weights need not be loaded, functions must be inlined.

    Results of operators that onnx does not know have the type of their first floating-point input.
    """
    types: dict[str, int] = {}
    for graph in all_graphs(_infer(model).graph):
        for value in (*graph.input, *graph.value_info, *graph.output):
            types.setdefault(value.name, value.type.tensor_type.elem_type)
        types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for graph in all_graphs(model.graph):
        for node in graph.node:
            floats = [kind for name in node.input if (kind := types.get(name, 0)) in FLOAT_TYPES]
            for name in node.output:
                if not types.get(name) and floats:
                    types[name] = floats[0]
    return {name: kind for name, kind in types.items() if name and kind != TensorProto.UNDEFINED}


def _infer(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with what onnx infers; it refuses shapes that a file states wrongly, which engines do not read."""
    try:
        return infer_shapes(model)
    except (onnx.shape_inference.InferenceError, ValueError):
        stripped = onnx.ModelProto()
        stripped.CopyFrom(model)
    for graph in all_graphs(stripped.graph):
        for value in (*graph.value_info, *graph.output):
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")
    try:
        return infer_shapes(stripped)
    except (onnx.shape_inference.InferenceError, ValueError):
        return model
