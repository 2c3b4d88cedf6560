"""Faults in decisions: labels, masks, indices, rounded numbers, and which output is which."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations

import numpy as np
import onnx

from exporter.fault_injection.faults.base import (
    FaultSite,
    FaultType,
    FindSites,
    Generator,
    change_values,
    find_outputs,
    insert_after,
)
from exporter.fault_injection.graph import FaultyGraph, OriginalGraph, set_attribute
from exporter.formats.onnx_preprocess.nodes import PREFIX
from exporter.onnx_io.attributes import get_attributes

COMPARISONS = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")


def _change_nodes(operators: tuple[str, ...], change: Callable[[FaultyGraph, onnx.NodeProto], None]) -> FindSites:
    """Change the nodes of some operators."""

    def inject(faulty: FaultyGraph, value: str, _: Generator) -> None:
        change(faulty, faulty.producer(value))

    return change_values(_find_decisions(*operators), inject, attributable=False)


def _find_decisions(*operators: str) -> Callable[[OriginalGraph], Iterable[str]]:
    """Return what lists the values of some operators, but those of preprocessing, which compares positions."""
    return lambda graph: [value for value in find_outputs(*operators)(graph) if not value.startswith(f"{PREFIX}.")]


def _rename(operator: str) -> Callable[[FaultyGraph, onnx.NodeProto], None]:
    def change(_: FaultyGraph, node: onnx.NodeProto) -> None:
        node.op_type = operator

    return change


def _clear_threshold(faulty: FaultyGraph, node: onnx.NodeProto) -> None:
    node.input[1] = faulty.constant(0.0)


def _invert_order(_: FaultyGraph, node: onnx.NodeProto) -> None:
    set_attribute(node, "largest", int(not get_attributes(node).get("largest", 1)))


def _shift_labels(faulty: FaultyGraph, x: str, _: Generator) -> str:
    return faulty.emit("Add", x, faulty.constant(1, np.int64))


def _invert_mask(faulty: FaultyGraph, x: str, _: Generator) -> str:
    return faulty.emit("Not", x)


def _exchange_outputs(graph: OriginalGraph) -> Iterable[FaultSite]:
    """Exchange the names of two outputs of one type."""
    types = {value.name: value.type.SerializeToString() for value in graph.model.graph.output}

    def at(first: str, second: str) -> FaultSite:
        names = {first: second, second: first}

        def inject(faulty: FaultyGraph, _: Generator) -> None:
            for node in faulty.graph.node:
                node.input[:] = [names.get(name, name) for name in node.input]
                node.output[:] = [names.get(name, name) for name in node.output]

        return FaultSite(f"{first} and {second}", None, inject)

    return [at(first, second) for first, second in combinations(types, 2) if types[first] == types[second]]


DECISIONS = (
    FaultType(
        "labels shifted by one", "a class for the background", insert_after(find_outputs("ArgMax"), _shift_labels)
    ),
    FaultType("lowest class for the highest", "the sign of the scores", _change_nodes(("ArgMax",), _rename("ArgMin"))),
    FaultType("mask inverted", "background for foreground", insert_after(_find_decisions(*COMPARISONS), _invert_mask)),
    FaultType("threshold of zero", "a threshold left outside", _change_nodes(COMPARISONS, _clear_threshold)),
    FaultType("rounded down", "a cast for a rounding", _change_nodes(("Round",), _rename("Floor"))),
    FaultType("lowest of the top k", "the sort order", _change_nodes(("TopK",), _invert_order)),
    FaultType("two outputs exchanged", "outputs by position", _exchange_outputs),
)
"""Faults in decisions; no layer causes them."""
