"""What the layers of an ONNX file compute in."""

from __future__ import annotations

from pathlib import Path

import onnx

from exporter.onnx_io.cast import inline_functions
from exporter.onnx_io.dtypes import dtype_name
from exporter.onnx_io.inference import infer_element_types
from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.subgraphs import LAYER_OPERATORS, all_graphs
from models.errors import count

INTEGER_LAYERS = frozenset({"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QGemm"})
"""Operators that multiply integers, in ONNX's domain and onnxruntime's."""
MAX_NAMES = 4
"""Layers of a less frequent type that `describe_layer_types` names; more are only counted."""


def find_layer_types(model: onnx.ModelProto) -> dict[str, str]:
    """Return {layer: what it computes in, as NumPy spells it} of all convolutions and matrix products, in order.

    A layer whose inputs come from DequantizeLinear is one that engines compute in integers; it is `int8`. A layer
    without a name goes by its first output. Weights need not be loaded.
    """
    model = inline_functions(model)
    types = infer_element_types(model)
    found: dict[str, str] = {}
    for graph in all_graphs(model.graph):
        dequantised = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
        for node in graph.node:
            if node.op_type in INTEGER_LAYERS or (node.op_type in LAYER_OPERATORS and {*node.input[:2]} <= dequantised):
                found[node.name or node.output[0]] = "int8"
            elif node.op_type in LAYER_OPERATORS:
                found[node.name or node.output[0]] = dtype_name(types.get(node.input[0], 0))
    return found


def has_float16_layers(path: Path) -> bool:
    """Return whether a layer of a file computes in float16.

    Raises:
        ArtifactError: unreadable, or not ONNX.
    """
    model = inline_functions(load_without_weights(path))
    return _names_float16(model) and "float16" in find_layer_types(model).values()


def _names_float16(model: onnx.ModelProto) -> bool:
    """Return whether a stated type, a constant or an attribute may be float16: otherwise no value is."""
    if not all(value.type.HasField("tensor_type") for value in model.graph.input):
        return True
    types: set[int] = set()
    for graph in all_graphs(model.graph):
        types |= {value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}
        types |= {tensor.data_type for tensor in graph.initializer}
        types |= {tensor.values.data_type for tensor in graph.sparse_initializer}
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            types |= {attribute.i, attribute.t.data_type, attribute.tp.tensor_type.elem_type}
            types.add(attribute.sparse_tensor.values.data_type)
    return onnx.TensorProto.FLOAT16 in types


def describe_layer_types(model: onnx.ModelProto) -> str:
    """Return `float16 (9 layers), float32 (2 layers: conv1, fc8)`; empty for a model without layers.

    The most frequent type comes first; few layers of any other are named.
    """
    groups: dict[str, list[str]] = {}
    for name, dtype in find_layer_types(model).items():
        groups.setdefault(dtype, []).append(name)
    texts: list[str] = []
    for dtype, names in sorted(groups.items(), key=lambda group: -len(group[1])):
        listed = f": {', '.join(names)}" if texts and len(names) <= MAX_NAMES else ""
        texts.append(f"{dtype} ({count(len(names), 'layer')}{listed})")
    return ", ".join(texts)
