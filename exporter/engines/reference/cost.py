"""What evaluating a graph in float64 costs, from the shapes of its values: nothing is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from exporter.engines.reference.kernels.convolution import conv_workspace
from exporter.engines.reference.node import make_node, normalize_domain
from exporter.errors import ArtifactError
from exporter.isolation.worker import reads_file
from exporter.onnx_io.cast import inline_functions
from exporter.onnx_io.dtypes import FLOAT_TYPES
from exporter.onnx_io.inference import infer_shapes
from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.subgraphs import last_uses

VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Transpose", "Slice", "Split", "Expand"})
"""Operators whose outputs share the memory of their first input."""
IN_PLACE = frozenset({"Add", "Sub", "Mul", "Div", "Relu", "LeakyRelu", "Concat", "Sigmoid", "PRelu", "Clip", "Conv"})
"""Operators that need no memory beside inputs and outputs, or (Conv) whose need is computed."""
CONVOLUTIONS = frozenset({"Conv", "FusedConv"})
PRODUCTS = frozenset({"MatMul", "Gemm", "FusedMatMul", "FusedGemm"})

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class GraphCost:
    """The cost of one evaluation.

    Attributes:
        multiply_adds: of convolutions and matrix products.
        moved_bytes: what all nodes read and write in float64.
        live_bytes: the largest size in float64 of the values that are alive at one time.
        peak_bytes: the same, with the memory that a node needs beside its inputs and outputs.
        layer_bytes: the size in float64 of all intermediate values.
        output_bytes: the size in float64 of the outputs.
        weight_bytes: the size of the weights in float64.
        complete: whether every shape is known; if not, the numbers are lower bounds.
    """

    multiply_adds: int
    moved_bytes: int
    live_bytes: int
    peak_bytes: int
    layer_bytes: int
    output_bytes: int
    weight_bytes: int
    complete: bool


@reads_file("the estimate of its cost")
def estimate_graph(path: Path, shapes: Shapes) -> GraphCost:
    """Return the cost of evaluating a model in float64 on inputs of these shapes.

    Raises:
        ArtifactError: unreadable, not ONNX, or with a node whose attributes are not valid.
    """
    model = inline_functions(load_without_weights(path))
    graph = model.graph
    sizes, known = infer_sizes(model, shapes)
    opsets = {normalize_domain(opset.domain): opset.version for opset in model.opset_import}
    weights = {tensor.name for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    alive: dict[str, int] = {name: _bytes(sizes, name) for name in shapes}
    multiply_adds = moved = live = peak = layers = 0
    for node, freed in zip(graph.node, _freed_owners(graph, outputs), strict=True):
        written = sum(_bytes(sizes, name) for name in node.output if name)
        if node.op_type not in VIEWS:
            alive |= {name: _bytes(sizes, name) for name in node.output if name}
            moved += written + sum(_bytes(sizes, name) for name in node.input if name)
            layers += written
        now = sum(alive.values())
        live = max(live, now)
        try:
            multiply_adds += count_multiply_adds(node, known)
            peak = max(peak, now + _workspace(node, known, opsets, sizes))
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{path}: its node {node.name or node.output[0]} ({node.op_type}) has attributes that are not valid, "
                f"or do not fit its inputs ({error}); no engine can run it"
            ) from error
        for name in freed:
            alive.pop(name, None)
    names = [name for node in graph.node for name in node.output if name]
    return GraphCost(
        multiply_adds=multiply_adds,
        moved_bytes=moved,
        live_bytes=live,
        peak_bytes=peak,
        layer_bytes=layers,
        output_bytes=sum(_bytes(sizes, name) for name in outputs),
        weight_bytes=sum(8 * math.prod(tensor.dims) for tensor in graph.initializer if tensor.data_type in FLOAT_TYPES),
        complete=all(name in known for name in (*names, *weights)),
    )


def infer_sizes(
    model: onnx.ModelProto, shapes: Shapes, *, strict: bool = False
) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """Return {value: bytes in float64} and {value: shape}, for every value whose shape is known.

    Args:
        model: the model; the shapes that it states are lost.
        shapes: {input: its shape}.
        strict: raise the errors of onnx's shape inference, instead of returning less.
    """
    graph = model.graph
    for value in (*graph.input, *graph.output):
        if value.name in shapes:
            kind = helper.make_tensor_type_proto(value.type.tensor_type.elem_type, shapes[value.name])
            value.type.CopyFrom(kind)
        elif value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")  # the batch that it states may differ from that of `shapes`
    del graph.value_info[:]
    try:
        inferred = infer_shapes(model, strict_mode=strict, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):  # the numbers are then lower bounds
        if strict:
            raise
        inferred = graph
    known: dict[str, tuple[int, ...]] = {}
    sizes: dict[str, int] = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = value.type.tensor_type
        if value.type.HasField("tensor_type") and kind.HasField("shape"):
            dims = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
            if min(dims, default=0) >= 0:
                known[value.name] = dims
                sizes[value.name] = math.prod(dims) * _item_bytes(kind.elem_type)
    for tensor in graph.initializer:
        known[tensor.name] = tuple(tensor.dims)
    return sizes, known


def _item_bytes(element_type: int) -> int:
    if element_type in FLOAT_TYPES:
        return 8
    return 1 if element_type in (TensorProto.BOOL, TensorProto.INT8, TensorProto.UINT8) else 8


def _bytes(sizes: Mapping[str, int], name: str) -> int:
    return sizes.get(name, 0)


def _freed_owners(graph: onnx.GraphProto, outputs: set[str]) -> list[list[str]]:
    """Return, for every node, the values whose memory is free after it: no view of them is read later."""
    owner: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in VIEWS:
            owner |= dict.fromkeys(node.output, owner.get(node.input[0], node.input[0]))
    last: dict[str, int] = {}
    for number, names in enumerate(last_uses(graph)):
        for name in names:
            last[owner.get(name, name)] = max(number, last.get(owner.get(name, name), 0))
    kept = {owner.get(name, name) for name in outputs}
    freed: list[list[str]] = [[] for _ in graph.node]
    for name, number in last.items():
        if name not in kept:
            freed[number].append(name)
    return freed


def count_multiply_adds(node: onnx.NodeProto, known: Shapes) -> int:
    """Return the multiply-adds of a convolution or matrix product, by its definition; 0 for others, or unknown shapes.

    Each output of a Conv takes one for each weight of its filter, each input of a ConvTranspose one for each weight of
    its channel. Padding counts as data.
    """
    inputs = [known.get(name, ()) for name in node.input]
    out = math.prod(known.get(node.output[0], (0,))) if node.output else 0
    if node.op_type in CONVOLUTIONS and len(inputs) > 1:
        return out * math.prod(inputs[1][1:])
    if node.op_type == "ConvTranspose":
        return math.prod(inputs[0] or (0,)) * math.prod(inputs[1][1:])
    if node.op_type in PRODUCTS and inputs[0]:
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return out * inputs[0][-2 if transposed and len(inputs[0]) > 1 else -1]
    if node.op_type in ("LSTM", "GRU", "RNN") and inputs[0]:
        return math.prod(inputs[0][:2]) * sum(map(math.prod, inputs[1:3]))
    return 0


def _workspace(node: onnx.NodeProto, known: Shapes, opsets: Mapping[str, int], sizes: Mapping[str, int]) -> int:
    """Return what a node needs beside its inputs and outputs: for most, a copy of the output."""
    written = sum(_bytes(sizes, name) for name in node.output if name)
    shapes: Sequence[tuple[int, ...]] = [known.get(name, ()) for name in node.input[:2]]
    if node.op_type in CONVOLUTIONS and all(shapes):
        return conv_workspace(make_node(node, opsets), *shapes)
    if node.op_type == "ConvTranspose" and all(shapes):
        return 8 * math.prod((shapes[0][0], *shapes[0][2:], *shapes[1][1:]))  # torch unrolls every window
    if node.op_type.endswith("Pool"):
        return _bytes(sizes, node.input[0])
    return 0 if node.op_type in IN_PLACE | VIEWS else written
