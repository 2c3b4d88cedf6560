"""Faults in biases."""

from collections.abc import Callable, Iterable
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.selftest.faults.base import Kind, Place
from exporter.selftest.graph import Copy, Layer, SoundGraph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Change = Callable[[NDArray[np.float32]], NDArray[Any]]


def _in_biases(change: "Change") -> Callable[[SoundGraph], Iterable[Place]]:
    def at(layer: Layer, bias: str) -> Place:
        def plant(copy: Copy, _generator: "np.random.Generator") -> None:
            copy.set(bias, change(np.array(copy.sound.weights[bias])))

        return Place(layer.name, layer.value, plant)

    return lambda graph: [at(layer, layer.bias) for layer in graph.layers if layer.bias]


def _swapped(graph: SoundGraph) -> Iterable[Place]:
    for one, other in combinations([layer for layer in graph.layers if layer.bias], 2):
        first, second = str(one.bias), str(other.bias)
        if first == second or graph.weights[first].shape != graph.weights[second].shape:
            continue

        def plant(copy: Copy, _generator: "np.random.Generator", first: str = first, second: str = second) -> None:
            held = np.array(copy.sound.weights[first]), np.array(copy.sound.weights[second])
            copy.set(first, held[1])
            copy.set(second, held[0])

        yield Place(f"{one.name} and {other.name}", one.value, plant)


def _one_percent(bias: "NDArray[np.float32]") -> "NDArray[np.float32]":
    bias.reshape(-1)[np.abs(bias).argmax()] *= np.float32(1.01)
    return bias


BIASES = (
    Kind("bias dropped", "a layer exported without its bias", _in_biases(lambda b: b * 0)),
    Kind("bias added twice", "a bias in the layer and behind it", _in_biases(lambda b: b * 2)),
    Kind("bias with the other sign", "a mean subtracted for a bias added", _in_biases(lambda b: -b)),
    Kind("bias moved by one channel", "an index that starts at 1", _in_biases(lambda b: np.roll(b, 1))),
    Kind("largest bias off by 1 %", "a damaged file", _in_biases(_one_percent)),
    Kind("bias rounded to float16", "a checkpoint of half precision", _in_biases(lambda b: b.astype(np.float16))),
    Kind("two layers' biases swapped", "a mapping with two keys confused", _swapped),
)  # fmt: skip
"""In every layer's bias."""
