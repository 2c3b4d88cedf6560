"""Faults after the network: what happens to its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from exporter.fault_injection.faults.base import FaultSite, FaultType, insert_after
from exporter.fault_injection.graph import FaultyGraph, Layer, OriginalGraph

if TYPE_CHECKING:
    Generator = np.random.Generator

DECIMALS = 1000.0


def _outputs(build: Callable[[FaultyGraph, str], str]) -> Callable[[OriginalGraph], Iterable[FaultSite]]:
    return insert_after(lambda graph: graph.outputs, lambda copy, x, _generator: build(copy, x), attributable=False)


def _one(operator: str, number: float) -> Callable[[FaultyGraph, str], str]:
    return lambda copy, x: copy.emit(operator, x, copy.constant(number))


def _rounded(copy: FaultyGraph, x: str) -> str:
    decimals = copy.constant(DECIMALS)
    return copy.emit("Div", copy.emit("Round", copy.emit("Mul", x, decimals)), decimals)


def _head(order: Callable[[int], list[int]]) -> Callable[[OriginalGraph], Iterable[FaultSite]]:
    """Put the classes of the last linear layer in another order, its bias too."""

    def find_sites(graph: OriginalGraph) -> Iterable[FaultSite]:
        heads = [layer for layer in graph.layers if layer.kind == "linear"][-1:]
        return [FaultSite(layer.name, layer.node, _reordered(layer, order)) for layer in heads]

    return find_sites


def _reordered(layer: Layer, order: Callable[[int], list[int]]) -> Callable[[FaultyGraph, Generator], None]:
    def inject(copy: FaultyGraph, _generator: Generator) -> None:
        weight = copy.weight(layer)
        places = order(len(weight))
        copy.set_weight(layer, weight[places])
        if layer.bias:
            copy.set(layer.bias, np.array(copy.original.weights[layer.bias])[places])

    return inject


OUTPUTS = (
    FaultType("classes in reverse order", "another list of classes", _head(lambda n: [*range(n)][::-1])),
    FaultType("classes moved by one", "a class for the background", _head(lambda n: [n - 1, *range(n - 1)])),
    FaultType("two classes swapped", "another list of classes", _head(lambda n: [1, 0, *range(2, n)])),
    FaultType(
        "the last two classes swapped", "another list of classes", _head(lambda n: [*range(n - 2), n - 1, n - 2])
    ),
    FaultType("softmax added", "probabilities for logits", _outputs(lambda copy, x: copy.emit("Softmax", x, axis=-1))),
    FaultType(
        "logarithm of softmax added",
        "a loss's first half exported",
        _outputs(lambda copy, x: copy.emit("LogSoftmax", x, axis=-1)),
    ),
    FaultType("sigmoid added", "probabilities for logits", _outputs(lambda copy, x: copy.emit("Sigmoid", x))),
    FaultType("ReLU added", "an activation behind the last layer", _outputs(lambda copy, x: copy.emit("Relu", x))),
    FaultType("divided by a temperature of 1.001", "a calibration left inside", _outputs(_one("Div", 1.001))),
    FaultType("0.001 added to all", "what softmax does not show", _outputs(_one("Add", 0.001))),
    FaultType("rounded to three decimals", "outputs stored as text", _outputs(_rounded)),
)
"""Behind the network."""
