"""Faults before the network: what happens to the clip, (batch, channel, time, height, width)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from exporter.fault_injection.faults.base import FaultSite, FaultType, clip, insert_after
from exporter.fault_injection.graph import FaultyGraph, OriginalGraph

if TYPE_CHECKING:
    Build = Callable[[FaultyGraph, str], str]

CHANNEL, TIME, HEIGHT, WIDTH = 1, 2, 3, 4
MEAN = (90.25, 97.66, 101.41)
"""Sports-1M's channel means."""
DEVIATION = (0.229, 0.224, 0.225)
"""ImageNet's, of pixels from 0 to 1."""


def _clip(build: Build) -> Callable[[OriginalGraph], Iterable[FaultSite]]:
    def find_sites(graph: OriginalGraph) -> Iterable[FaultSite]:
        shape = next(value for value in graph.model.graph.input if value.name == graph.clip).type.tensor_type.shape
        if len(shape.dim) != WIDTH + 1:
            return []
        return insert_after(clip, lambda copy, x, _generator: build(copy, x), attributable=False)(graph)

    return find_sites


def _sizes(copy: FaultyGraph) -> list[int]:
    graph_input = next(value for value in copy.graph.input if value.name == copy.original.clip)
    return [dim.dim_value for dim in graph_input.type.tensor_type.shape.dim]


def _taken(axis: int, order: Callable[[int], list[int]]) -> Build:
    """Take an axis's places in another order."""

    def build(copy: FaultyGraph, x: str) -> str:
        return copy.emit("Gather", x, copy.constant(order(_sizes(copy)[axis]), np.int64), axis=axis)

    return build


def _by_channel(operator: str, numbers: tuple[float, ...]) -> Build:
    def build(copy: FaultyGraph, x: str) -> str:
        return copy.emit(operator, x, copy.constant(np.reshape(numbers, (1, -1, 1, 1, 1))))

    return build


def _lost_frame(copy: FaultyGraph, x: str) -> str:
    kept = np.ones((1, 1, _sizes(copy)[TIME], 1, 1))
    kept[0, 0, -1] = 0
    return copy.emit("Mul", x, copy.constant(kept))


def _one(operator: str, number: float) -> Build:
    return lambda copy, x: copy.emit(operator, x, copy.constant(number))


INPUTS = (
    FaultType("BGR for RGB", "another reader of images", _clip(_taken(CHANNEL, lambda n: [*range(n)][::-1]))),
    FaultType("frames backwards", "a wrong sort order", _clip(_taken(TIME, lambda n: [*range(n)][::-1]))),
    FaultType("frames off by one", "a time axis off by one", _clip(_taken(TIME, lambda n: [*range(1, n), n - 1]))),
    FaultType(
        "every second frame, twice", "another frame rate", _clip(_taken(TIME, lambda n: [i // 2 * 2 for i in range(n)]))
    ),
    FaultType(
        "two frames swapped", "a wrong sort order (10 before 9)", _clip(_taken(TIME, lambda n: [1, 0, *range(2, n)]))
    ),
    FaultType("the last frame black", "a clip padded with zeros", _clip(_lost_frame)),
    FaultType("mirrored", "augmentation left on", _clip(_taken(WIDTH, lambda n: [*range(n)][::-1]))),
    FaultType("upside down", "another image origin", _clip(_taken(HEIGHT, lambda n: [*range(n)][::-1]))),
    FaultType("moved by one pixel", "a crop off by one", _clip(_taken(WIDTH, lambda n: [*range(1, n), n - 1]))),
    FaultType(
        "height and width turned",
        "axes (W,H) for (H,W)",
        _clip(lambda copy, x: copy.emit("Transpose", x, perm=[0, 1, 2, 4, 3])),
    ),
    FaultType("pixels divided by 255", "another range of pixels", _clip(_one("Div", 255))),
    FaultType("pixels off by 0.5", "another rounding", _clip(_one("Add", 0.5))),
    FaultType("a mean subtracted again", "preprocessing inside and outside", _clip(_by_channel("Sub", MEAN))),
    FaultType("divided by a deviation again", "preprocessing inside and outside", _clip(_by_channel("Div", DEVIATION))),
    FaultType("pixels rounded", "uint8 inside the graph", _clip(lambda copy, x: copy.emit("Round", x))),
    FaultType("negative pixels cut off", "uint8 inside the graph", _clip(lambda copy, x: copy.emit("Relu", x))),
)
"""Before the network. A localiser sees them at the first layer, but no layer causes the fault."""
