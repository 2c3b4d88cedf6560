"""Faults in the order of a weight's values: axes, flips, channels, layers mistaken for one another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from exporter.fault_injection.faults.base import (
    FaultSite,
    FaultType,
    FindSites,
    Generator,
    change_layers,
    change_weights,
)
from exporter.fault_injection.graph import FaultyGraph, Layer, OriginalGraph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

COLOURS = 3
CONV3D_RANK = 5
"""Axes of a 3-D convolution's weight (out, in, time, height, width)."""


def _permute_columns(faulty: FaultyGraph, layer: Layer, _: Generator) -> None:
    """Reorder a weight's columns from channels first to channels last."""
    weight, channels = faulty.weight(layer), _flattened_channels(faulty.original)
    outputs, inputs = weight.shape
    columns = weight.reshape(outputs, channels, inputs // channels).transpose(0, 2, 1)
    faulty.set_weight(layer, columns.reshape(outputs, inputs))


def _follows_flatten(graph: OriginalGraph, layer: Layer) -> bool:
    """Return whether a layer is the first linear one, and its input has several values per channel."""
    first = next((other for other in graph.layers if other.kind == "linear"), None)
    channels = _flattened_channels(graph)
    return layer == first and 1 < channels < graph.shape(layer)[1] and graph.shape(layer)[1] % channels == 0


def _flattened_channels(graph: OriginalGraph) -> int:
    """Return the output channels of the last convolution, 0 if there is none."""
    return next((graph.shape(layer)[0] for layer in reversed(graph.layers) if layer.kind == "conv"), 0)


def _change_pairs(
    inject: Callable[[FaultyGraph, Layer, Layer], None], title: str, *, first_is_wrong: bool
) -> FindSites:
    """Inject a fault into each two layers of one shape."""

    def at(one: Layer, other: Layer) -> FaultSite:
        value = one.node if first_is_wrong else other.node
        return FaultSite(
            title.format(one=one.name, other=other.name), value, lambda faulty, _: inject(faulty, one, other)
        )

    def find_sites(graph: OriginalGraph) -> Iterable[FaultSite]:
        pairs = combinations(graph.layers, 2)
        return [at(one, other) for one, other in pairs if graph.shape(one) == graph.shape(other)]

    return find_sites


def _swap_weights(faulty: FaultyGraph, one: Layer, other: Layer) -> None:
    first, second = faulty.weight(one), faulty.weight(other)
    faulty.set_weight(one, second)
    faulty.set_weight(other, first)


def _copy_weight(faulty: FaultyGraph, one: Layer, other: Layer) -> None:
    faulty.set_weight(other, faulty.weight(one))


def _initialise(weight: Floats, random: Generator) -> Floats:
    return random.standard_normal(weight.shape, np.float32) * weight.std()


def _split_in_groups(weight: Floats, _: Generator) -> Floats:
    half, middle = len(weight) // 2, weight.shape[1] // 2
    weight[:half, middle:] = 0
    weight[half:, :middle] = 0
    return weight


def _keep_middle_frame(weight: Floats, _: Generator) -> Floats:
    middle = weight.shape[2] // 2
    weight[:, :, :middle] = 0
    weight[:, :, middle + 1 :] = 0
    return weight


def _reverse_colours(faulty: FaultyGraph, layer: Layer, _: Generator) -> None:
    faulty.set_weight(layer, faulty.weight(layer)[:, ::-1])


def _takes_colours(graph: OriginalGraph, layer: Layer) -> bool:
    return layer == graph.layers[0] and layer.kind == "conv" and graph.shape(layer)[1] == COLOURS


LAYOUT = (
    FaultType(
        "kernels flipped on every axis",
        "a convolution exported as a correlation (Theano)",
        change_weights(lambda w, _: np.flip(w, tuple(range(2, w.ndim))), "conv"),
    ),
    FaultType(
        "kernels flipped in time",
        "one layer reads a clip backwards",
        change_weights(lambda w, _: np.flip(w, 2), "conv"),
    ),
    FaultType("kernels flipped in height", "another image origin", change_weights(lambda w, _: np.flip(w, -2), "conv")),
    FaultType("kernels flipped in width", "another image origin", change_weights(lambda w, _: np.flip(w, -1), "conv")),
    FaultType(
        "kernels with height and width swapped",
        "axes (W,H) for (H,W)",
        change_weights(lambda w, _: w.swapaxes(-1, -2), "conv", lambda s: s[-1] == s[-2]),
    ),
    FaultType(
        "kernels with time and height swapped",
        "axes (H,T,W) for (T,H,W)",
        change_weights(lambda w, _: w.swapaxes(2, 3), "conv", lambda s: len(s) == CONV3D_RANK and s[2] == s[3]),
    ),
    FaultType(
        "kernels shifted by one in time",
        "a time axis off by one",
        change_weights(lambda w, _: np.roll(w, 1, 2), "conv"),
    ),
    FaultType(
        "kernels reduced to their middle frame",
        "a 2-D convolution in each frame",
        change_weights(_keep_middle_frame, "conv"),
    ),
    FaultType(
        "kernels read with reversed axes",
        "a reader that took T,H,W,in,out for out,in,T,H,W",
        change_weights(lambda w, _: w.transpose().reshape(w.shape), "conv"),
    ),
    FaultType(
        "input and output channels swapped",
        "a matrix that was not transposed",
        change_weights(lambda w, _: w.swapaxes(0, 1), None, lambda s: s[0] == s[1]),
    ),
    FaultType(
        "two groups for one",
        "a grouped convolution, as in AlexNet",
        change_weights(_split_in_groups, "conv", lambda s: s[1] > COLOURS),
    ),
    FaultType(
        "output channels shifted by one", "an index that starts at 1", change_weights(lambda w, _: np.roll(w, 1, 0))
    ),
    FaultType(
        "input channels shifted by one", "an index that starts at 1", change_weights(lambda w, _: np.roll(w, 1, 1))
    ),
    FaultType(
        "two output channels swapped",
        "a key mapping with two keys confused",
        change_weights(lambda w, _: np.concatenate([w[1:2], w[:1], w[2:]])),
    ),
    FaultType(
        "first convolution takes BGR for RGB", "another image reader", change_layers(_reverse_colours, _takes_colours)
    ),
    FaultType(
        "flattened T,H,W,C for C,T,H,W",
        "a checkpoint of Keras or TensorFlow",
        change_layers(_permute_columns, _follows_flatten),
    ),
    FaultType(
        "two layers' weights swapped",
        "a key mapping with two keys confused",
        _change_pairs(_swap_weights, "{one} and {other}", first_is_wrong=True),
    ),
    FaultType(
        "a layer with another's weights",
        "a key mapping that names a key twice",
        _change_pairs(_copy_weight, "{other} as {one}", first_is_wrong=False),
    ),
    FaultType(
        "a layer with new random weights", "a key that matched nothing (strict=False)", change_weights(_initialise)
    ),
)
"""Faults in the order of every layer's weight."""
