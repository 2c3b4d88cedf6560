"""The layers that can be computed in int8: convolutions and matrix products with a constant weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.builder import MATRIX_PREFIXES
from exporter.passes.graph import constant, display_name, find_nodes, read_array

OPERATORS = ("Conv", "Gemm", "MatMul")
WEIGHT, BIAS = 1, 2
"""Positions of the weight and the bias among a node's inputs; a MatMul has no bias."""


@dataclass(frozen=True)
class Layer:
    """A node that can be quantised.

    Attributes:
        node: a Conv, Gemm or MatMul.
        source: the activation that it reads.
        axis: the axis of its weight that counts output channels.
    """

    node: ir.Node
    source: ir.Value
    axis: int

    @property
    def name(self) -> str:
        """The node's name."""
        return display_name(self.node)

    @property
    def weight(self) -> NDArray[Any]:
        """The weight in float32, in the node's own layout."""
        return read_array(self.node.inputs[WEIGHT])


def find_layers(model: ir.Model) -> list[Layer]:
    """Return the layers of the main graph that can be quantised, in the order of the graph."""
    return [layer for node in find_nodes(model, *OPERATORS) if (layer := match_layer(node)) is not None]


def match_layer(node: ir.Node) -> Layer | None:
    """Return the layer, or None for a node that reads no constant float32 weight, or scales or transposes its input."""
    source, weight = node.inputs[0], node.inputs[WEIGHT]
    tensor = constant(weight)
    if source is None or weight is None or tensor is None or constant(source) is not None:
        return None
    if tensor.dtype != ir.DataType.FLOAT or str(weight.name).startswith(MATRIX_PREFIXES):
        return None
    if node.op_type == "Conv":
        return Layer(node, source, 0)
    if len(tensor.shape.numpy()) != 2 or (node.op_type == "Gemm" and not is_plain(node)):
        return None
    return Layer(node, source, 0 if node.attributes.get_int("transB", 0) else 1)


def is_plain(gemm: ir.Node) -> bool:
    """Return whether a Gemm neither scales nor transposes its input."""
    attributes = gemm.attributes
    scaled = attributes.get_float("alpha", 1.0) != 1.0 or attributes.get_float("beta", 1.0) != 1.0
    return not scaled and not attributes.get_int("transA", 0)
