"""Walks over ONNX graphs together with the graphs inside them: the branches of If, the bodies of Loop and Scan."""

from collections.abc import Iterable, Iterator

import onnx


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


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield every node of a model, those of subgraphs and local functions too."""
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        yield from nodes
        yield from nested_nodes(nodes)


def last_uses(graph: onnx.GraphProto) -> list[list[str]]:
    """Return, for every node, the values of this graph that nothing reads after it."""
    last: dict[str, int] = {}
    for number, node in enumerate(graph.node):
        last |= dict.fromkeys((*node.output, *node.input, *_captured(node)), number)
    freed: list[list[str]] = [[] for _ in graph.node]
    for name, number in last.items():
        if name:
            freed[number].append(name)
    return freed


def _captured(node: onnx.NodeProto) -> Iterable[str]:
    """Yield every name that the graphs inside a node read; some are their own."""
    for inner in inner_graphs([node]):
        for graph in all_graphs(inner):
            yield from (name for item in graph.node for name in item.input)
            yield from (value.name for value in graph.output)
