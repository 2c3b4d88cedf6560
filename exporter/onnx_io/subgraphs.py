"""Walks over ONNX graphs together with the graphs inside them: the branches of If, the bodies of Loop and Scan."""

from collections.abc import Callable, Collection, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

import onnx

STANDARD_DOMAINS = ("", "ai.onnx")
"""The two names of the standard operators' domain."""
LAYER_OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""The convolutions and matrix products of the standard domain: what a network spends its time on."""
SHAPE_OPERATORS = frozenset({"Shape", "Size"})
"""Operators whose outputs do not depend on the values of their inputs."""


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and every graph inside it."""
    yield graph
    for inner in inner_graphs(graph.node):
        yield from all_graphs(inner)


def inner_graphs(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    """Yield the graphs that are attributes of these nodes, without what is inside those."""
    for node in nodes:
        for attribute in node.attribute:
            yield from (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)


def nested_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield every node of the graphs inside these nodes."""
    for inner in inner_graphs(nodes):
        for graph in all_graphs(inner):
            yield from graph.node


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Put a graph's nodes in the order that ONNX demands, each after those that it depends on.

    onnxruntime loads them in any order, and its converter to float16 appends its casts. A graph in order stays as it
    is, and so does one with a cycle.
    """
    producers = {name: number for number, node in enumerate(graph.node) for name in node.output if name}
    needs = {
        number: {producers[name] for name in (*node.input, *captured_values(node)) if name in producers} - {number}
        for number, node in enumerate(graph.node)
    }
    if all(max(found, default=-1) < number for number, found in needs.items()):
        return
    try:
        order = [*TopologicalSorter(needs).static_order()]
    except CycleError:
        return
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes[number] for number in order)


def needed_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return every node of a model that its outputs may depend on, those of subgraphs and local functions too."""
    names = {value.name for value in model.graph.output}
    found: list[onnx.NodeProto] = []
    for node in reversed(model.graph.node):
        if not names.isdisjoint(filter(None, node.output)):
            found.append(node)
            names |= {*node.input, *captured_values(node)}
    found += nested_nodes(found)
    functions = {(function.domain, function.name): function for function in model.functions}
    new = found
    while new:
        called = [functions.pop(key) for node in new if (key := (node.domain, node.op_type)) in functions]
        new = [node for function in called for node in (*function.node, *nested_nodes(function.node))]
        found = [*found, *new]
    return found


def inputs_before(graph: onnx.GraphProto, inputs: Collection[str]) -> Callable[[str], frozenset[str]]:
    """Return a function from a value of a graph to the inputs whose numbers it may depend on.

    A Shape depends on no numbers. The graph is read once, whatever the number of values that are asked for.

    Args:
        graph: its nodes are in the order that ONNX demands, each after those that it depends on.
        inputs: names of values that are inputs.
    """
    bits = {name: 1 << number for number, name in enumerate(inputs)}
    before = dict(bits)
    for node in graph.node:
        if node.op_type not in SHAPE_OPERATORS:
            found = 0
            for name in (*node.input, *captured_values(node)):
                found |= before.get(name, 0)
            before |= dict.fromkeys(filter(None, node.output), found)

    def find(value: str) -> frozenset[str]:
        found = before.get(value, 0)
        return frozenset(name for name, bit in bits.items() if found & bit)

    return find


def last_uses(graph: onnx.GraphProto) -> list[list[str]]:
    """Return, for every node, the values of this graph that nothing reads after it."""
    last: dict[str, int] = {}
    for number, node in enumerate(graph.node):
        last |= dict.fromkeys((*node.output, *node.input, *captured_values(node)), number)
    freed: list[list[str]] = [[] for _ in graph.node]
    for name, number in last.items():
        if name:
            freed[number].append(name)
    return freed


def captured_values(node: onnx.NodeProto) -> Iterable[str]:
    """Yield every name that the graphs inside a node read; some are their own."""
    for inner in inner_graphs([node]):
        for graph in all_graphs(inner):
            yield from (name for item in graph.node for name in item.input)
            yield from (value.name for value in graph.output)
