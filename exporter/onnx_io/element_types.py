"""The element type of every value of a model, by onnx's type inference."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from exporter.onnx_io.dtypes import FLOAT_TYPES
from exporter.onnx_io.inference import infer_shapes
from exporter.onnx_io.subgraphs import all_graphs


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
