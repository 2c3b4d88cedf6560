"""Faults in biases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.fault_injection.faults.base import FaultSite, FaultType
from exporter.fault_injection.graph import FaultyGraph, Layer, OriginalGraph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Change = Callable[[NDArray[np.float32]], NDArray[Any]]


def _in_biases(change: Change) -> Callable[[OriginalGraph], Iterable[FaultSite]]:
    def at(layer: Layer, bias: str) -> FaultSite:
        def inject(copy: FaultyGraph, _generator: np.random.Generator) -> None:
            copy.set(bias, change(np.array(copy.original.weights[bias])))

        return FaultSite(layer.name, layer.value, inject)

    return lambda graph: [at(layer, layer.bias) for layer in graph.layers if layer.bias]


def _swapped(graph: OriginalGraph) -> Iterable[FaultSite]:
    for one, other in combinations([layer for layer in graph.layers if layer.bias], 2):
        first, second = str(one.bias), str(other.bias)
        if first == second or graph.weights[first].shape != graph.weights[second].shape:
            continue

        def inject(
            copy: FaultyGraph, _generator: np.random.Generator, first: str = first, second: str = second
        ) -> None:
            held = np.array(copy.original.weights[first]), np.array(copy.original.weights[second])
            copy.set(first, held[1])
            copy.set(second, held[0])

        yield FaultSite(f"{one.name} and {other.name}", one.value, inject)


def _one_percent(bias: NDArray[np.float32]) -> NDArray[np.float32]:
    bias.reshape(-1)[np.abs(bias).argmax()] *= np.float32(1.01)
    return bias


BIASES = (
    FaultType("bias dropped", "a layer exported without its bias", _in_biases(lambda b: b * 0)),
    FaultType("bias added twice", "a bias in the layer and behind it", _in_biases(lambda b: b * 2)),
    FaultType("bias with the other sign", "a mean subtracted for a bias added", _in_biases(lambda b: -b)),
    FaultType("bias moved by one channel", "an index that starts at 1", _in_biases(lambda b: np.roll(b, 1))),
    FaultType("largest bias off by 1 %", "a damaged file", _in_biases(_one_percent)),
    FaultType("bias rounded to float16", "a checkpoint of half precision", _in_biases(lambda b: b.astype(np.float16))),
    FaultType("two layers' biases swapped", "a mapping with two keys confused", _swapped),
)
"""In every layer's bias."""
