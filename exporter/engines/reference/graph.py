"""A graph evaluated node by node; a value is freed after its last use."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from typing import Any

import onnx

from exporter.engines.reference.node import make_node
from exporter.engines.reference.operators import Choice, Operator
from exporter.engines.reference.weights import Weights
from exporter.isolation.worker import at_step
from exporter.onnx_io.subgraphs import last_uses

NodeValues = Mapping[str, Any]


class GraphEvaluator:
    """A graph and the operators that compute its nodes.

    Attributes:
        operators: the nodes in order, without those of inner graphs.
        inputs: the names of the graph's inputs.
        outputs: the names of its outputs.
    """

    def __init__(
        self,
        graph: onnx.GraphProto,
        weights: Weights,
        opsets: Mapping[str, int],
        choice: Choice,
        outer_constants: frozenset[str] = frozenset(),
    ) -> None:
        """Prepare a graph.

        Args:
            graph: the graph; its own initialisers are not read.
            weights: its initialisers.
            opsets: {domain: version} that the model imports.
            choice: what may compute a node.
            outer_constants: the constants of the graphs around it.
        """
        self.inputs = [value.name for value in graph.input]
        self.outputs = [value.name for value in graph.output]
        self._weights, self._choice = weights, choice
        constant_nodes = (name for node in graph.node if node.op_type == "Constant" for name in node.output)
        constants = (outer_constants | {*weights} | {*constant_nodes}) - {*self.inputs}
        self.operators: list[Operator] = []
        self._inner: list[tuple[GraphEvaluator, ...]] = []
        for proto in graph.node:
            bodies = {
                attribute.name: GraphEvaluator(
                    attribute.g, Weights.of_graph(attribute.g, choice.cast), opsets, choice, frozenset(constants)
                )
                for attribute in proto.attribute
                if attribute.HasField("g")
            }
            self._inner.append(tuple(bodies.values()))
            self.operators.append(Operator(make_node(proto, opsets, frozenset(constants)), choice, bodies))
        self._freed = last_uses(graph)

    def all_operators(self) -> Iterable[Operator]:
        """Yield the operators of this graph and of every graph inside it."""
        for operator, bodies in zip(self.operators, self._inner, strict=True):
            yield operator
            for body in bodies:
                yield from body.all_operators()

    def run(
        self, feeds: NodeValues, outer: MutableMapping[str, Any] | None = None, keep: Collection[str] = ()
    ) -> NodeValues:
        """Return the graph's outputs, and the intermediate values named in `keep`, by name.

        Args:
            feeds: {input: value}; inputs that are missing are taken from the initialisers.
            outer: the values of the graphs around this one.
            keep: intermediate values to return too.

        Raises:
            NodeError: a node cannot be computed.
        """
        values = dict(feeds)
        scope: MutableMapping[str, Any] = ChainMap(values, self._weights, outer or {})
        kept = {*self.outputs, *keep}
        for operator, freed in zip(self.operators, self._freed, strict=True):
            if outer is None:  # of a graph inside a node, the node is named
                at_step(operator.step)
            outputs = operator.run([scope.get(name) if name else None for name in operator.node.proto.input], scope)
            for name, value in zip(operator.node.proto.output, outputs, strict=False):
                if name:
                    values[name] = self._choice.store(name, value)
            del outputs
            for name in freed:
                if name not in kept:
                    values.pop(name, None)
        return {name: scope[name] for name in dict.fromkeys([*keep, *self.outputs]) if name in scope}
