"""Casts every floating-point number of a model to another dtype."""

from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, numpy_helper

from exporter.isolation.worker import native_call
from exporter.onnx_io.dtypes import FLOAT_TYPES
from exporter.onnx_io.subgraphs import all_graphs
from exporter.results import ReferencePrecision

_ELEMENT_TYPES: dict[ReferencePrecision, int] = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}


def cast_model(model: onnx.ModelProto, dtype: ReferencePrecision) -> onnx.ModelProto:
    """Return a model with every floating-point weight, constant, cast, input and output in `dtype`.

    A float32, float16 or bfloat16 number is exactly representable in float64, so the float64 model is the same function
    without the rounding. Local functions are inlined first. Weights that the model only refers to (external data) stay
    as they are. The model given may be changed.
    """
    model = inline_functions(model)
    target = _ELEMENT_TYPES[dtype]
    for graph in all_graphs(model.graph):
        for tensor in graph.initializer:
            _cast_tensor(tensor, target)
        for node in graph.node:
            cast_node(node, dtype)
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type in FLOAT_TYPES:
                value.type.tensor_type.elem_type = target
        del graph.value_info[:]
    return model


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model without local functions: each call is replaced by the function's nodes."""
    if not model.functions:
        return model
    from onnx.inliner import inline_local_functions

    with native_call("onnx's inliner"):
        return inline_local_functions(model)


def cast_node(node: onnx.NodeProto, dtype: ReferencePrecision) -> None:
    """Cast the floating-point tensors that a node holds, and the dtypes that its attributes name."""
    for attribute in node.attribute:
        _cast_attribute(node, attribute, _ELEMENT_TYPES[dtype])


def _cast_attribute(node: onnx.NodeProto, attribute: AttributeProto, target: int) -> None:
    """Cast the tensor or numbers that an attribute holds, or the dtype that it names."""
    if attribute.type == AttributeProto.TENSOR:
        _cast_tensor(attribute.t, target)
    elif attribute.name in ("to", "dtype") and attribute.type == AttributeProto.INT and attribute.i in FLOAT_TYPES:
        attribute.i = target
    elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
        numbers: Any = attribute.f if attribute.name == "value_float" else list(attribute.floats)
        tensor = numpy_helper.from_array(np.array(numbers, np.float32))
        _cast_tensor(tensor, target)
        attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))


def _cast_tensor(tensor: TensorProto, target: int) -> None:
    inside = tensor.data_location != TensorProto.EXTERNAL
    if inside and tensor.data_type in FLOAT_TYPES and tensor.data_type != target:
        array: Any = numpy_helper.to_array(tensor).astype(onnx.helper.tensor_dtype_to_np_dtype(target))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
