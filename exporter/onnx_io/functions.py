"""How many nodes a model has once its local functions are expanded, counted without expanding them.

Functions that call one another several times expand exponentially: 41 of them, each of which calls the next twice, are
a file of 2.5 kB and 2 ** 40 nodes, which onnx's checker, its shape inference and every engine would walk.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from exporter.errors import LimitError
from exporter.onnx_io.subgraphs import nested_nodes

MAX_NODES = 1_000_000
"""The largest number of nodes that is accepted; the largest published graphs have about a hundred thousand."""
MAX_DEPTH = 400
"""Functions inside functions: expanding them recurses."""

Key = tuple[str, str, str]


def require_expandable(model: onnx.ModelProto, name: object) -> None:
    """Refuse a model whose functions expand to more nodes than anything can work with.

    Args:
        model: the model.
        name: of its file, for the message.

    Raises:
        LimitError: more than `MAX_NODES` nodes, or functions that are nested deeper than `MAX_DEPTH`.
    """
    if not model.functions:
        return
    functions = {(function.domain, function.name, function.overload): function for function in model.functions}
    called = {
        key: [each for each in dict.fromkeys(map(_key, _nodes(function.node))) if each in functions]
        for key, function in functions.items()
    }
    counted: dict[Key, int] = {}
    depths: dict[Key, int] = {}
    waiting: list[tuple[Key, bool]] = [(key, False) for key in functions]
    while waiting:
        key, calls_are_counted = waiting.pop()
        if calls_are_counted:
            counted[key] = _expanded(functions[key].node, counted)
            depths[key] = 1 + max((depths[each] for each in called[key]), default=0)
            if depths[key] > MAX_DEPTH:
                raise LimitError(f"{name}: its local functions are nested more than {MAX_DEPTH} deep")
        elif key not in counted:
            counted[key], depths[key] = 1, 0  # one that calls itself is counted so; onnx's checker refuses it
            waiting.append((key, True))
            waiting += [(each, False) for each in called[key] if each not in counted]
    total = _expanded(model.graph.node, counted)
    if total > MAX_NODES:
        raise LimitError(f"{name}: its local functions expand to {total:.3g} nodes, more than {MAX_NODES:,}")


def _expanded(nodes: Iterable[onnx.NodeProto], counted: dict[Key, int]) -> int:
    return sum(counted.get(_key(node), 1) for node in _nodes(nodes))


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterable[onnx.NodeProto]:
    nodes = list(nodes)
    return (*nodes, *nested_nodes(nodes))


def _key(node: onnx.NodeProto) -> Key:
    return node.domain, node.op_type, node.overload
