"""Inputs that hold the sizes of images, (N, C, *spatial), from which a graph builds shapes: AffineGrid in its nodes.

The numbers are taken apart by Split, Slice or Gather, also inside the branches of an If, before they become shapes, so
that no single node says what they must be. They follow from the shapes of the graph's first float input and output.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from exporter.onnx_io.dtypes import FLOAT_TYPES
from exporter.onnx_io.subgraphs import all_graphs
from exporter.parity.input_roles.input_use import InputUse, RoleValue

IMAGE_SIZES = "sizes of images"
"""The operator of the node that stands for the whole graph: (data, sizes) to the graph's first output."""
MAX_ROUNDS = 16
"""Passes over a graph, at most. Numbers that go through the branches of several nested Ifs take one pass for each."""
TAKES_APART = {"Split", "Slice", "Gather", "Squeeze", "Unsqueeze", "Identity", "Cast", "Concat"}
SHAPES = {("Reshape", 1), ("Expand", 1), ("ConstantOfShape", 0), ("Range", 1)}
"""(operator, position) of inputs that are sizes."""
RANKS = (3, 4, 5)
"""Of images with one, two or three spatial axes."""
INTEGERS = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
FIRST_SIZE = 4
"""The first of the spatial sizes where nothing states them; the next axis has one more, so that no two are equal."""


def find_image_sizes(graph: onnx.GraphProto, inputs: Iterable[str]) -> dict[str, onnx.NodeProto]:
    """Return {input: a node that stands for the graph} for those of `inputs` that hold the sizes of images."""
    inputs = {*inputs}
    data = next((port.name for port in graph.input if port.type.tensor_type.elem_type in FLOAT_TYPES), None)
    candidates = [port.name for port in graph.input if port.name in inputs and _is_short_vector(port)]
    if data is None or not candidates or not graph.output:
        return {}
    graphs = [*all_graphs(graph)]
    return {
        name: onnx.helper.make_node(IMAGE_SIZES, [data, name], [graph.output[0].name])
        for name in candidates
        if _become_shapes(graphs, name)
    }


def image_sizes(use: InputUse) -> RoleValue:
    """Return (N, 1, *spatial) for a grid of coordinates (N, *spatial, axes), else the output's sizes or small ones."""
    data, target, rank = use.input_shape(), use.output_shape, use.count
    if not data or rank is None:
        return None
    if target is not None and len(target) == rank:
        return (target[0], 1, *target[1:-1]) if target[-1] == rank - 2 else target
    return (data[0], 1, *range(FIRST_SIZE, FIRST_SIZE + rank - 2))


def _is_short_vector(port: onnx.ValueInfoProto) -> bool:
    dims = port.type.tensor_type.shape.dim
    return port.type.tensor_type.elem_type in INTEGERS and len(dims) == 1 and dims[0].dim_value in RANKS


def _become_shapes(graphs: list[onnx.GraphProto], name: str) -> bool:
    """Return whether the numbers of a value become sizes, after nothing but `TAKES_APART` and the branches of an If."""
    names, reached = {name}, False
    for _ in range(MAX_ROUNDS):
        before = len(names)
        for graph in graphs:
            for node in graph.node:
                if node.op_type in TAKES_APART and not names.isdisjoint(node.input):
                    names |= {*node.output} - {""}
                elif node.op_type == "If":
                    for branch in (attribute.g for attribute in node.attribute):
                        names |= {
                            o for o, value in zip(node.output, branch.output, strict=False) if value.name in names
                        }
                reached |= any((node.op_type, at) in SHAPES and used in names for at, used in enumerate(node.input))
        if len(names) == before:
            break
    return reached
