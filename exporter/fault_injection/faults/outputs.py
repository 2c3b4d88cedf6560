"""Faults after the network: changes of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from exporter.fault_injection.faults.base import (
    Build,
    FaultSite,
    FaultType,
    FindSites,
    Generator,
    change_layers,
    insert_after,
    insert_constant,
    round_to,
)
from exporter.fault_injection.graph import FaultyGraph, Layer, OriginalGraph


def _change_outputs(build: Build) -> FindSites:
    return insert_after(lambda graph: graph.float_outputs, build, attributable=False)


def _apply(operator: str, **attributes: int) -> FindSites:
    return _change_outputs(lambda faulty, x, _: faulty.emit(operator, x, **attributes))


def _reorder_classes(order: Callable[[int], list[int]]) -> FindSites:
    """Put the classes of the last linear layer, with their biases, in another order."""

    def inject(faulty: FaultyGraph, layer: Layer, _: Generator) -> None:
        weight = faulty.weight(layer)
        indices = order(len(weight))
        faulty.set_weight(layer, weight[indices])
        if layer.bias:
            faulty.set(layer.bias, faulty.original.weights[layer.bias][indices])

    def find_sites(graph: OriginalGraph) -> Iterable[FaultSite]:
        last = [layer for layer in graph.layers if layer.kind == "linear"][-1:]
        return change_layers(inject, lambda _, layer: layer in last)(graph)

    return find_sites


OUTPUTS = (
    FaultType(
        "classes in reverse order", "another list of classes", _reorder_classes(lambda n: np.arange(n)[::-1].tolist())
    ),
    FaultType(
        "classes shifted by one", "a class for the background", _reorder_classes(lambda n: [n - 1, *range(n - 1)])
    ),
    FaultType("two classes swapped", "another list of classes", _reorder_classes(lambda n: [1, 0, *range(2, n)])),
    FaultType(
        "the last two classes swapped",
        "another list of classes",
        _reorder_classes(lambda n: [*range(n - 2), n - 1, n - 2]),
    ),
    FaultType("softmax added", "probabilities for logits", _apply("Softmax", axis=-1)),
    FaultType("logarithm of softmax added", "half of a loss exported", _apply("LogSoftmax", axis=-1)),
    FaultType("sigmoid added", "probabilities for logits", _apply("Sigmoid")),
    FaultType("ReLU added", "an activation after the last layer", _apply("Relu")),
    FaultType(
        "divided by a temperature of 1.001", "a calibration left inside", _change_outputs(insert_constant("Div", 1.001))
    ),
    FaultType("0.001 added to all", "a change that softmax hides", _change_outputs(insert_constant("Add", 0.001))),
    FaultType("rounded to three decimals", "outputs stored as text", _change_outputs(round_to(1000.0))),
)
"""Faults after the network."""
