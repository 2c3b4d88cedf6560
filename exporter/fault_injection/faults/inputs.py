"""Faults before the network, of its clip (batch, channel, time, height, width), and ones between a batch's items."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from exporter.fault_injection.faults.base import (
    Build,
    FaultType,
    FindSites,
    Generator,
    find_outputs,
    insert_after,
    insert_constant,
)
from exporter.fault_injection.graph import FaultyGraph, OriginalGraph

CHANNEL, TIME, HEIGHT, WIDTH = 1, 2, 3, 4
MEAN, DEVIATION = (123.7, 116.3, 103.5), (0.229, 0.224, 0.225)
"""ImageNet's: the mean of pixels from 0 to 255, the standard deviation of pixels from 0 to 1."""
MIX = 0.001
INT64_END = 2**31
"""An end of a slice that is larger than any batch."""


def _change_input(build: Build, fits: Callable[[tuple[int | None, ...]], bool] = lambda _shape: True) -> FindSites:
    """Insert nodes after a video input whose shape fits, or after the clip that preprocessing in the graph makes."""

    def values(graph: OriginalGraph) -> list[str]:
        name, shape = graph.clip
        video = len(shape) == WIDTH + 1 and None not in shape[CHANNEL:] and shape[TIME] != 1
        return [name] if video and fits(shape) else []

    return insert_after(values, build, attributable=False)


def _reorder(axis: int, order: Callable[[int], list[int]]) -> FindSites:
    """Take the indices of an axis in another order."""

    def build(faulty: FaultyGraph, x: str, _: Generator) -> str:
        size = faulty.original.clip[1][axis]
        assert size is not None
        return faulty.emit("Gather", x, faulty.constant(order(size), np.int64), axis=axis)

    return _change_input(build)


def _by_channel(operator: str, numbers: tuple[float, ...]) -> FindSites:
    def build(faulty: FaultyGraph, x: str, _: Generator) -> str:
        return faulty.emit(operator, x, faulty.constant(np.reshape(numbers, (1, -1, 1, 1, 1))))

    return _change_input(build, lambda shape: shape[CHANNEL] == len(numbers))


def _clear_last_frame(faulty: FaultyGraph, x: str, _: Generator) -> str:
    size = faulty.original.clip[1][TIME]
    assert size is not None
    mask = np.arange(size) < size - 1
    return faulty.emit("Mul", x, faulty.constant(mask.reshape(1, 1, size, 1, 1)))


def _reverse(size: int) -> list[int]:
    return [*range(size)][::-1]


def _shift(size: int) -> list[int]:
    return [*range(1, size), size - 1]


INPUTS = (
    FaultType("BGR for RGB", "another image reader", _reorder(CHANNEL, _reverse)),
    FaultType("frames reversed", "a wrong sort order", _reorder(TIME, _reverse)),
    FaultType("frames off by one", "a time axis off by one", _reorder(TIME, _shift)),
    FaultType(
        "every second frame, twice", "another frame rate", _reorder(TIME, lambda n: [i // 2 * 2 for i in range(n)])
    ),
    FaultType("two frames swapped", "a wrong sort order (10 before 9)", _reorder(TIME, lambda n: [1, 0, *range(2, n)])),
    FaultType("the last frame black", "a clip padded with zeros", _change_input(_clear_last_frame)),
    FaultType("mirrored", "augmentation left on", _reorder(WIDTH, _reverse)),
    FaultType("upside down", "another image origin", _reorder(HEIGHT, _reverse)),
    FaultType("shifted by one pixel", "a crop off by one", _reorder(WIDTH, _shift)),
    FaultType(
        "height and width swapped",
        "axes (W,H) for (H,W)",
        _change_input(
            lambda faulty, x, _: faulty.emit("Transpose", x, perm=[0, 1, 2, 4, 3]), lambda s: s[HEIGHT] == s[WIDTH]
        ),
    ),
    FaultType("pixels divided by 255", "another range of pixel values", _change_input(insert_constant("Div", 255))),
    FaultType("pixels off by 0.5", "another rounding", _change_input(insert_constant("Add", 0.5))),
    FaultType("a mean subtracted again", "preprocessing inside and outside", _by_channel("Sub", MEAN)),
    FaultType("divided by a deviation again", "preprocessing inside and outside", _by_channel("Div", DEVIATION)),
    FaultType("pixels rounded", "uint8 inside the graph", _change_input(lambda faulty, x, _: faulty.emit("Round", x))),
    FaultType(
        "negative pixels clipped", "uint8 inside the graph", _change_input(lambda faulty, x, _: faulty.emit("Relu", x))
    ),
)
"""Faults before the network. Localisation finds them at the first layer, but no layer causes them."""


def _find_values(graph: OriginalGraph) -> Iterable[str]:
    """List the values at which items can interact: the clip, pools, linear layers, outputs."""
    if graph.input_shape[0] == 1:
        return []
    linear = [layer.value for layer in graph.layers if layer.kind == "linear"]
    return dict.fromkeys([graph.clip[0], *find_outputs("MaxPool")(graph), *linear, *graph.float_outputs])


def _in_batch(build: Build) -> FindSites:
    return insert_after(_find_values, build, attributable=False)


def _shift_items(faulty: FaultyGraph, x: str, _: Generator) -> str:
    return faulty.emit("Concat", _slice(faulty, x, 1, INT64_END), _slice(faulty, x, 0, 1), axis=0)


def _slice(faulty: FaultyGraph, x: str, start: int, end: int) -> str:
    return faulty.emit("Slice", x, *(faulty.constant([number], np.int64) for number in (start, end, 0)))


def _mix(faulty: FaultyGraph, x: str, random: Generator) -> str:
    own = faulty.emit("Mul", x, faulty.constant(1 - MIX))
    return faulty.emit("Add", own, faulty.emit("Mul", _shift_items(faulty, x, random), faulty.constant(MIX)))


def _repeat_first(faulty: FaultyGraph, x: str, _: Generator) -> str:
    return faulty.emit("Expand", _slice(faulty, x, 0, 1), faulty.emit("Shape", x))


def _add_batch_mean(faulty: FaultyGraph, x: str, _: Generator) -> str:
    """Move each item by a thousandth of the batch's mean, as normalisation by batch statistics would."""
    count = faulty.emit("Cast", _slice(faulty, faulty.emit("Shape", x), 0, 1), to=1)
    axes = faulty.constant([0], np.int64)
    mean = faulty.emit("Div", faulty.emit("ReduceSum", x, axes, keepdims=1), count)
    difference = faulty.emit("Sub", mean, _slice(faulty, x, 0, 1))
    return faulty.emit("Sub", x, faulty.emit("Mul", difference, faulty.constant(MIX)))


BATCHES = (
    FaultType("items shifted by one", "outputs assigned to the wrong clips", _in_batch(_shift_items)),
    FaultType("items mixed by 0.1 %", "memory shared between items", _in_batch(_mix)),
    FaultType(
        "the first item's output for all", "an output that is stale for the second item", _in_batch(_repeat_first)
    ),
    FaultType("batch statistics", "normalisation in training mode", _in_batch(_add_batch_mean)),
)
"""Faults between the items of a batch; none where a graph takes one item at a time."""
