"""Follows an output of an ONNX graph back to the float values that decide it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from exporter.onnx_io.attributes import get_attributes
from exporter.onnx_io.dtypes import FLOAT_TYPES
from exporter.onnx_io.file_graph import FileGraph, own_tensors
from exporter.onnx_io.inference import infer_element_types
from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.subgraphs import STANDARD_DOMAINS, inputs_before
from exporter.onnx_io.weights import read_weights
from exporter.parity.decisions.choices import Choice, Moved, Ranked, Recast
from exporter.parity.decisions.nodes import Continuous, Corners, Equality, Given, Node, Unfollowed

ARITHMETIC = {"Add", "Sub", "Mul", "Div", "Neg", "Min", "Max", "Sum", "Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh"}
"""Elementwise operators that are monotone in each input; they are followed where a decision comes before them."""
REDUCTIONS = {"ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean", "MaxPool", "GlobalMaxPool"}
COMPARISONS = {"Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
STEPS = {"Round", "Floor", "Ceil", "Sign", "And", "Or", "Xor", "Not"} | COMPARISONS
"""Elementwise operators that decide, and are monotone in each input."""
MOVES = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile", "Slice", "Split"} | {
    "Concat",
    "Gather",
    "GatherElements",
    "GatherND",
    "DepthToSpace",
    "SpaceToDepth",
}
"""Operators that move elements; all inputs but the first (of Concat: none) must be constant."""
RECTIFIERS = frozenset({"Relu", "Clip", "MaxPool", "GlobalMaxPool"})
"""Operators that give many elements exactly the same value. The value before them says how near a tie is."""
ZERO = Given("", np.zeros((), np.float64))
MAX_DEPTH = 100
"""Nodes in a row that are followed, at most."""
MAX_CORNERS = 3
"""An operator with more inputs that vary is not followed."""


class DecisionGraph:
    """The graph of an ONNX file, without its large weights; it is loaded when something is first asked of it.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._traced: dict[str, Node] = {}

    @cached_property
    def _graph(self) -> FileGraph:
        model = load_without_weights(self.path)
        return FileGraph(self.path, model, model.graph.node)

    @cached_property
    def _tensors(self) -> dict[str, TensorProto]:
        return own_tensors(self._graph.model.graph)

    @cached_property
    def _types(self) -> dict[str, int]:
        return infer_element_types(self._graph.model)

    @cached_property
    def _opset(self) -> int:
        imports = self._graph.model.opset_import
        return next((found.version for found in imports if found.domain in STANDARD_DOMAINS), 1)

    @cached_property
    def inputs(self) -> frozenset[str]:
        """The names of the graph's inputs."""
        return frozenset(value.name for value in self._graph.model.graph.input) - {*self._tensors}

    def inputs_before(self, value: str) -> frozenset[str]:
        """Return the graph's inputs whose numbers a value depends on.

        Raises:
            ArtifactError: the file cannot be read.
        """
        return self._inputs_before(value)

    @cached_property
    def _inputs_before(self) -> Callable[[str], frozenset[str]]:
        return inputs_before(self._graph.model.graph, self.inputs)

    def is_printed(self, value: str) -> bool:
        """Return whether a value holds floating-point numbers that a Cast made into text.

        Raises:
            ArtifactError: the file cannot be read.
        """
        node = self._before_moves(value)
        if node is None or node.op_type not in ("Cast", "CastLike"):
            return False
        return self._types.get(node.output[0]) == TensorProto.STRING and self._is_float(node.input[0])

    def trace(self, value: str, depth: int = 0) -> Node:
        """Return the tree of what a value is computed from.

        It ends at float values, constants, inputs, and what cannot be followed.

        Raises:
            ArtifactError: the file cannot be read.
        """
        if value not in self._traced:
            self._traced[value] = self._trace(value, depth)
        return self._traced[value]

    def _trace(self, value: str, depth: int) -> Node:
        if value in self._tensors:
            return Given(value, self._constant(value))
        if value in self.inputs:
            return Given(value)
        node = self._graph.producers.get(value)
        if node is not None and node.domain in STANDARD_DOMAINS and depth < MAX_DEPTH:
            for operators, follow in self._rules():
                if node.op_type in operators and (found := follow(node, value, depth + 1)) is not None:
                    return found
        return Continuous(value) if self._is_float(value) else Unfollowed(value)

    def _rules(self) -> Iterable[tuple[Iterable[str], Callable[[onnx.NodeProto, str, int], Node | None]]]:
        return (
            (("ArgMax", "ArgMin"), self._extremum),
            (("TopK",), self._top_indices),
            (("Where",), self._choice),
            (("Cast",), self._cast),
            (MOVES, self._moved),
            (STEPS, self._step),
            (("Equal",), self._equal),
            (ARITHMETIC, self._arithmetic),
            (REDUCTIONS, self._arithmetic),
        )

    def _operand(self, value: str, depth: int) -> Node:
        """Return the tree of a value that decides. A rectified float is followed to what was rectified."""
        found = self.trace(value, depth)
        node = self._graph.producers.get(value)
        if isinstance(found, Continuous) and node is not None and depth < MAX_DEPTH and self._is_rectified(value):
            operands = {name: self._operand(name, depth + 1) for name in node.input if name}
            if node.op_type in RECTIFIERS:
                return self._corners(node, value, operands, step=False) or found
            return self._move(node, value, operands) or found
        return found

    def _is_rectified(self, value: str) -> bool:
        node = self._before_moves(value)
        return node is not None and node.op_type in RECTIFIERS

    def _before_moves(self, value: str) -> onnx.NodeProto | None:
        """Return the node that computes a value's elements, before those that only move them; None for an input."""
        node = self._graph.producers.get(value)
        while node is not None and node.op_type in MOVES and node.op_type != "Concat":
            node = self._graph.producers.get(node.input[0])
        return node

    def _extremum(self, node: onnx.NodeProto, value: str, depth: int) -> Node | None:
        attributes = get_attributes(node)
        if attributes.get("select_last_index"):
            return None
        source = self._operand(node.input[0], depth)
        axis, keeps = int(attributes.get("axis", 0)), bool(attributes.get("keepdims", 1))
        return Ranked(value, source, axis, node.op_type == "ArgMax", keeps_axis=keeps)

    def _top_indices(self, node: onnx.NodeProto, value: str, depth: int) -> Node | None:
        if value != node.output[1]:
            return None
        attributes = get_attributes(node)
        largest, ordered = bool(attributes.get("largest", 1)), bool(attributes.get("sorted", 1))
        return Ranked(value, self._operand(node.input[0], depth), int(attributes.get("axis", -1)), largest, ordered)

    def _choice(self, node: onnx.NodeProto, value: str, depth: int) -> Node | None:
        condition, chosen, other = (self.trace(name, depth) for name in node.input)
        followed = condition.decides or chosen.decides or other.decides
        return Choice(value, condition, chosen, other) if followed else None

    def _cast(self, node: onnx.NodeProto, value: str, depth: int) -> Node | None:
        name = node.input[0]
        source, kind = self.trace(name, depth), self._types.get(value)
        if not self._is_float(name) or self._is_float(value):
            if kind == TensorProto.BOOL and self._types.get(name) != TensorProto.BOOL:
                return Equality(value, source, ZERO, negated=True) if source.decides else None
            return Recast(value, node, source, self._opset) if source.decides or source.exact else None
        operand = self._operand(name, depth)
        if kind == TensorProto.BOOL:
            return Equality(value, operand, ZERO, negated=True)
        return self._corners(node, value, {name: operand}, step=True)

    def _equal(self, node: onnx.NodeProto, value: str, depth: int) -> Node | None:
        left, right = (self._operand(name, depth) for name in node.input)
        return Equality(value, left, right)

    def _moved(self, node: onnx.NodeProto, value: str, depth: int) -> Node | None:
        data = node.input if node.op_type == "Concat" else node.input[:1]
        sources = {name: self.trace(name, depth) for name in data}
        return self._move(node, value, sources) if any(source.decides for source in sources.values()) else None

    def _move(self, node: onnx.NodeProto, value: str, sources: dict[str, Node]) -> Node | None:
        data = {name: sources[name] for name in (node.input if node.op_type == "Concat" else node.input[:1])}
        others = [name for name in node.input if name and name not in data]
        if any(name not in self._tensors for name in others):
            return None
        return Moved(value, node, data, {name: self._constant(name) for name in others}, self._opset)

    def _step(self, node: onnx.NodeProto, value: str, depth: int) -> Node | None:
        return self._corners(node, value, {name: self._operand(name, depth) for name in node.input if name}, step=True)

    def _arithmetic(self, node: onnx.NodeProto, value: str, depth: int) -> Node | None:
        sources = {name: self.trace(name, depth) for name in node.input if name}
        if not any(source.decides for source in sources.values()):
            return None
        return self._corners(node, value, sources, step=False)

    def _corners(self, node: onnx.NodeProto, value: str, sources: dict[str, Node], *, step: bool) -> Node | None:
        varying = [source for source in sources.values() if not isinstance(source, Given)]
        if len(varying) > MAX_CORNERS:
            return None
        return Corners(value, node, sources, self._opset, step, node.op_type not in REDUCTIONS)

    def _is_float(self, value: str) -> bool:
        return self._types.get(value, TensorProto.FLOAT) in FLOAT_TYPES

    def _constant(self, value: str) -> NDArray[Any]:
        tensor = self._tensors[value]
        ((_, array),) = read_weights(self._graph.model, {value: tensor}, self.path)
        return array.astype("float64") if tensor.data_type in FLOAT_TYPES else array
