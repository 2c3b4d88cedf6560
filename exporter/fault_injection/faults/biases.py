"""Faults in biases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.fault_injection.faults.base import FaultSite, FaultType, FindSites, Generator, change_layers
from exporter.fault_injection.graph import FaultyGraph, Layer, OriginalGraph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Change = Callable[[NDArray[np.float32]], NDArray[Any]]


def _change_bias(change: Change) -> FindSites:
    def inject(faulty: FaultyGraph, layer: Layer, _: Generator) -> None:
        faulty.set(str(layer.bias), change(np.array(faulty.original.weights[str(layer.bias)])))

    return change_layers(inject, lambda _, layer: layer.bias is not None, with_bias=True)


def _swap_biases(graph: OriginalGraph) -> Iterable[FaultSite]:
    for one, other in combinations([layer for layer in graph.layers if layer.bias], 2):
        first, second = str(one.bias), str(other.bias)
        if first == second or graph.weights[first].shape != graph.weights[second].shape:
            continue

        def inject(faulty: FaultyGraph, _: Generator, first: str = first, second: str = second) -> None:
            weights = faulty.original.weights
            faulty.set(first, weights[second])
            faulty.set(second, weights[first])

        yield FaultSite(f"{one.name} and {other.name}", one.value, inject)


def _scale_largest(bias: NDArray[np.float32]) -> NDArray[np.float32]:
    bias.reshape(-1)[np.abs(bias).argmax()] *= np.float32(1.01)
    return bias


BIASES = (
    FaultType("bias dropped", "a layer exported without its bias", _change_bias(lambda b: b * 0)),
    FaultType("bias added twice", "a bias in the layer and after it", _change_bias(lambda b: b * 2)),
    FaultType("bias negated", "a mean subtracted instead of a bias added", _change_bias(lambda b: -b)),
    FaultType("bias shifted by one channel", "an index that starts at 1", _change_bias(lambda b: np.roll(b, 1))),
    FaultType("largest bias off by 1 %", "a damaged file", _change_bias(_scale_largest)),
    FaultType("bias rounded to float16", "a half-precision checkpoint", _change_bias(lambda b: b.astype(np.float16))),
    FaultType("two layers' biases swapped", "a key mapping with two keys confused", _swap_biases),
)
"""Faults in the bias of every layer."""
