"""Faults in the order of a weight's numbers: axes, flips, channels, layers mistaken for one another."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.fault_injection.faults.base import FaultSite, FaultType, change_weights
from exporter.fault_injection.graph import FaultyGraph, Layer, OriginalGraph, get_attributes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Generator = np.random.Generator

COLOURS = 3
RANK = 5
"""Axes of a 3-D convolution's weight."""


def _square(shape: tuple[int, ...]) -> bool:
    return shape[0] == shape[1]


def _flattened(graph: OriginalGraph) -> Iterable[FaultSite]:
    """Turn the columns of a linear layer after a flatten from C,T,H,W to T,H,W,C."""
    for layer in graph.layers:
        maps = _maps_before(graph, layer)
        if layer.kind == "linear" and maps is not None:
            yield FaultSite(layer.name, layer.node, _turn(layer, maps))


def _turn(layer: Layer, channels: int) -> Any:
    def inject(copy: FaultyGraph, _generator: Generator) -> None:
        weight = copy.weight(layer)
        outputs, inputs = weight.shape
        turned = weight.reshape(outputs, channels, inputs // channels).transpose(0, 2, 1)
        copy.set_weight(layer, turned.reshape(outputs, inputs))

    return inject


def _maps_before(graph: OriginalGraph, layer: Layer) -> int | None:
    """Return the channels that a linear layer's input was flattened from, or None where it was not."""
    convolutions = [other for other in graph.layers if other.kind == "conv"]
    first = next((other for other in graph.layers if other.kind == "linear"), None)
    if layer != first or not convolutions:
        return None
    channels = graph.shape(convolutions[-1])[0]
    return channels if graph.shape(layer)[1] > channels and graph.shape(layer)[1] % channels == 0 else None


def _pairs(graph: OriginalGraph) -> Iterable[tuple[Layer, Layer]]:
    return ((one, other) for one, other in combinations(graph.layers, 2) if graph.shape(one) == graph.shape(other))


def _swapped_weights(graph: OriginalGraph) -> Iterable[FaultSite]:
    for one, other in _pairs(graph):

        def inject(copy: FaultyGraph, _generator: Generator, one: Layer = one, other: Layer = other) -> None:
            held = copy.weight(one), copy.weight(other)
            copy.set_weight(one, held[1])
            copy.set_weight(other, held[0])

        yield FaultSite(f"{one.name} and {other.name}", one.node, inject)


def _weights_of_another(graph: OriginalGraph) -> Iterable[FaultSite]:
    for one, other in _pairs(graph):

        def inject(copy: FaultyGraph, _generator: Generator, one: Layer = one, other: Layer = other) -> None:
            copy.set_weight(other, copy.weight(one))

        yield FaultSite(f"{other.name} as {one.name}", other.node, inject)


def _fresh(weight: Floats, generator: Generator) -> Floats:
    return generator.standard_normal(weight.shape, np.float32) * weight.std()


def _grouped(weight: Floats) -> Floats:
    half, middle = len(weight) // 2, weight.shape[1] // 2
    weight[:half, middle:] = 0
    weight[half:, :middle] = 0
    return weight


def _separable(graph: OriginalGraph) -> Iterable[FaultSite]:
    """Give every kernel of a convolution its middle time step only."""
    for layer in graph.layers:
        if layer.kind == "conv":

            def inject(copy: FaultyGraph, _generator: Generator, layer: Layer = layer) -> None:
                weight = copy.weight(layer)
                middle = weight.shape[2] // 2
                weight[:, :, :middle] = 0
                weight[:, :, middle + 1 :] = 0
                copy.set_weight(layer, weight)

            yield FaultSite(layer.name, layer.node, inject)


def _colours(graph: OriginalGraph) -> Iterable[FaultSite]:
    first = graph.layers[:1]
    if first and first[0].kind == "conv" and graph.shape(first[0])[1] == COLOURS:
        yield from change_weights(lambda w, _: w[:, ::-1], "conv", lambda shape: shape[1] == COLOURS)(graph)


def is_plain_conv(graph: OriginalGraph, layer: Layer) -> bool:
    """Return whether a convolution has one group, so that its weight's second axis is all of its input."""
    node = next(node for node in graph.nodes("Conv") if node.output[0] == layer.node)
    return get_attributes(node).get("group", 1) == 1


LAYOUT = (
    FaultType(
        "kernels flipped on every axis",
        "a convolution exported as a correlation (Theano)",
        change_weights(lambda w, _: np.flip(w, tuple(range(2, w.ndim))), "conv"),
    ),
    FaultType(
        "kernels flipped in time",
        "a clip read backwards by one layer",
        change_weights(lambda w, _: np.flip(w, 2), "conv"),
    ),
    FaultType("kernels flipped in height", "another image origin", change_weights(lambda w, _: np.flip(w, -2), "conv")),
    FaultType("kernels flipped in width", "another image origin", change_weights(lambda w, _: np.flip(w, -1), "conv")),
    FaultType(
        "kernels with height and width turned",
        "axes (W,H) for (H,W)",
        change_weights(lambda w, _: w.swapaxes(-1, -2), "conv", lambda s: s[-1] == s[-2]),
    ),
    FaultType(
        "kernels with time and height turned",
        "axes (H,T,W) for (T,H,W)",
        change_weights(lambda w, _: w.swapaxes(2, 3), "conv", lambda s: len(s) == RANK and s[2] == s[3]),
    ),
    FaultType(
        "kernels moved by one in time", "a time axis off by one", change_weights(lambda w, _: np.roll(w, 1, 2), "conv")
    ),
    FaultType("kernels of their middle frame only", "a 2-D convolution in each frame", _separable),
    FaultType(
        "kernels read with axes last to first",
        "a reader that took T,H,W,in,out for out,in,T,H,W",
        change_weights(lambda w, _: w.transpose().reshape(w.shape), "conv"),
    ),
    FaultType(
        "in and out turned",
        "a matrix that was not transposed",
        change_weights(lambda w, _: w.swapaxes(0, 1), None, _square),
    ),
    FaultType(
        "half of the inputs for half of the outputs",
        "two groups for one (AlexNet's way)",
        change_weights(lambda w, _: _grouped(w), "conv", lambda s: s[1] > COLOURS),
    ),
    FaultType(
        "output channels moved by one", "an index that starts at 1", change_weights(lambda w, _: np.roll(w, 1, 0))
    ),
    FaultType(
        "input channels moved by one", "an index that starts at 1", change_weights(lambda w, _: np.roll(w, 1, 1))
    ),
    FaultType(
        "two output channels swapped",
        "a mapping with two keys confused",
        change_weights(lambda w, _: np.concatenate([w[1:2], w[:1], w[2:]])),
    ),
    FaultType("first convolution takes BGR for RGB", "another reader of images", _colours),
    FaultType("flattened T,H,W,C for C,T,H,W", "a checkpoint of Keras or TensorFlow", _flattened),
    FaultType("two layers' weights swapped", "a mapping with two keys confused", _swapped_weights),
    FaultType("a layer with another's weights", "a mapping that names a key twice", _weights_of_another),
    FaultType("a layer with fresh random weights", "a key that matched nothing (strict=False)", change_weights(_fresh)),
)
"""In the order of a weight's numbers."""
