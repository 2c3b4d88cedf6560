"""Nodes that draw random numbers, of which some output of the model depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from onnx import numpy_helper

from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.subgraphs import SHAPE_OPERATORS, STANDARD_DOMAINS, inner_graphs, nested_nodes

RANDOM_OPERATORS = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
    | {"Sampling", "BitmaskDropout", "BiasDropout", "BitmaskBiasDropout"}
)
"""ONNX's operators, then those of onnxruntime's domain `com.microsoft`."""
DROPOUT_MODE_INPUT, DROPOUT_MODE_OPSET, DROPOUT_INFERENCE_OPSET = 2, 12, 7
"""Dropout has its `training_mode` as its third input since opset 12; in opsets 7 to 11 it never drops."""

FunctionKey = tuple[str, str]


def find_random_node(path: Path) -> str | None:
    """Return a node that draws random numbers and that an output depends on, as `name (operator)`; None without one.

    Raises:
        ArtifactError: the file cannot be read.
    """
    return random_node(load_without_weights(path))


def random_node(model: onnx.ModelProto) -> str | None:
    """Return what `find_random_node` returns, for a model. Subgraphs and local functions are searched too."""
    search = _Search(
        {(function.domain, function.name): function for function in model.functions},
        next((imported.version for imported in model.opset_import if imported.domain in STANDARD_DOMAINS), 1),
    )
    return search.in_graph(model.graph)


@dataclass
class _Search:
    """The search in one model.

    Attributes:
        functions: the local functions.
        opset: the version of ONNX's own operators.
        found: what was found in the functions searched so far.
    """

    functions: Mapping[FunctionKey, onnx.FunctionProto]
    opset: int
    found: dict[FunctionKey, str | None] = field(default_factory=dict["FunctionKey", "str | None"])

    def in_graph(self, graph: onnx.GraphProto, outer: Mapping[str, bool] | None = None) -> str | None:
        """Search a graph; `outer` holds the boolean constants of the graphs around it."""
        constants = {**(outer or {}), **_boolean_constants(graph.initializer)}
        return self._in_nodes(graph.node, [value.name for value in graph.output], constants)

    def _in_function(self, key: FunctionKey) -> str | None:
        if key not in self.found:
            self.found[key] = None  # functions that call each other end here
            function = self.functions[key]
            self.found[key] = self._in_nodes(function.node, function.output, {})
        return self.found[key]

    def _in_nodes(
        self, nodes: Sequence[onnx.NodeProto], outputs: Iterable[str], constants: Mapping[str, bool]
    ) -> str | None:
        """Walk from the outputs to the inputs."""
        known = dict(constants)
        for node in nodes:
            if node.op_type == "Constant":
                tensors = [attribute.t for attribute in node.attribute if attribute.name == "value"]
                known |= dict.fromkeys(node.output, value) if (value := _boolean(tensors)) is not None else {}
        needed = {*outputs}
        for node in reversed(nodes):
            if needed.isdisjoint(node.output):
                continue
            if reason := self._reason(node, known):
                return reason
            if node.op_type not in SHAPE_OPERATORS:
                needed |= {*node.input, *(name for inner in nested_nodes([node]) for name in inner.input)}
                # a branch may return a value of the graph around it
                needed |= {value.name for inner in inner_graphs([node]) for value in inner.output}
        return None

    def _reason(self, node: onnx.NodeProto, constants: Mapping[str, bool]) -> str | None:
        title = f"{node.name or node.output[0]} ({node.op_type})"
        key = (node.domain, node.op_type)
        if key in self.functions:
            inside = self._in_function(key)
            return inside and f"{inside} in the function {node.op_type}"
        if node.op_type in RANDOM_OPERATORS:
            return title
        if node.op_type == "Dropout" and self._drops(node, constants):
            return f"{node.name or node.output[0]} (Dropout in training mode)"
        found = (self.in_graph(inner, constants) for inner in inner_graphs([node]))
        return next((f"{inside} inside {title}" for inside in found if inside), None)

    def _drops(self, node: onnx.NodeProto, constants: Mapping[str, bool]) -> bool:
        """Return whether a Dropout may drop: its mode is true, or is not known before it runs."""
        if self.opset >= DROPOUT_MODE_OPSET:
            mode = node.input[DROPOUT_MODE_INPUT] if len(node.input) > DROPOUT_MODE_INPUT else ""
            return bool(mode) and constants.get(mode, True)
        inference = any(attribute.name == "is_test" and attribute.i for attribute in node.attribute)
        return self.opset < DROPOUT_INFERENCE_OPSET and not inference


def _boolean_constants(tensors: Iterable[onnx.TensorProto]) -> dict[str, bool]:
    found = {tensor.name: _boolean([tensor]) for tensor in tensors}
    return {name: value for name, value in found.items() if value is not None}


def _boolean(tensors: Sequence[onnx.TensorProto]) -> bool | None:
    """Return the only number of a boolean tensor."""
    if len(tensors) != 1 or tensors[0].data_type != onnx.TensorProto.BOOL:
        return None
    values = numpy_helper.to_array(tensors[0])
    return bool(values.item()) if values.size == 1 else None
