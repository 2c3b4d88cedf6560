"""Faults in front of the network: what happens to the clip, (batch, channel, time, height, width)."""
# ruff: noqa: E501 - the table reads best a row each

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from exporter.selftest.faults.base import Kind, Place, behind, clip
from exporter.selftest.graph import Copy, SoundGraph

if TYPE_CHECKING:
    Build = Callable[[Copy, str], str]

CHANNEL, TIME, HEIGHT, WIDTH = 1, 2, 3, 4
MEAN = (90.25, 97.66, 101.41)
"""Sports-1M's channel means."""
DEVIATION = (0.229, 0.224, 0.225)
"""ImageNet's, of pixels from 0 to 1."""


def _clip(build: "Build") -> Callable[[SoundGraph], Iterable[Place]]:
    def places(graph: SoundGraph) -> Iterable[Place]:
        shape = next(value for value in graph.model.graph.input if value.name == graph.clip).type.tensor_type.shape
        if len(shape.dim) != WIDTH + 1:
            return []
        return behind(clip, lambda copy, x, _generator: build(copy, x), blame=False)(graph)

    return places


def _sizes(copy: Copy) -> list[int]:
    graph_input = next(value for value in copy.graph.input if value.name == copy.sound.clip)
    return [dim.dim_value for dim in graph_input.type.tensor_type.shape.dim]


def _taken(axis: int, order: "Callable[[int], list[int]]") -> "Build":
    """Take an axis's places in another order."""

    def build(copy: Copy, x: str) -> str:
        return copy.emit("Gather", x, copy.constant(order(_sizes(copy)[axis]), np.int64), axis=axis)

    return build


def _by_channel(operator: str, numbers: "tuple[float, ...]") -> "Build":
    def build(copy: Copy, x: str) -> str:
        return copy.emit(operator, x, copy.constant(np.reshape(numbers, (1, -1, 1, 1, 1))))

    return build


def _lost_frame(copy: Copy, x: str) -> str:
    kept = np.ones((1, 1, _sizes(copy)[TIME], 1, 1))
    kept[0, 0, -1] = 0
    return copy.emit("Mul", x, copy.constant(kept))


def _one(operator: str, number: float) -> "Build":
    return lambda copy, x: copy.emit(operator, x, copy.constant(number))


INPUTS = (
    Kind("BGR for RGB", "another reader of images", _clip(_taken(CHANNEL, lambda n: [*range(n)][::-1]))),
    Kind("frames backwards", "a wrong sort order", _clip(_taken(TIME, lambda n: [*range(n)][::-1]))),
    Kind("frames off by one", "a time axis off by one", _clip(_taken(TIME, lambda n: [*range(1, n), n - 1]))),
    Kind("every second frame, twice", "another frame rate", _clip(_taken(TIME, lambda n: [i // 2 * 2 for i in range(n)]))),
    Kind("two frames swapped", "a wrong sort order (10 before 9)", _clip(_taken(TIME, lambda n: [1, 0, *range(2, n)]))),
    Kind("the last frame black", "a clip padded with zeros", _clip(_lost_frame)),
    Kind("mirrored", "augmentation left on", _clip(_taken(WIDTH, lambda n: [*range(n)][::-1]))),
    Kind("upside down", "another image origin", _clip(_taken(HEIGHT, lambda n: [*range(n)][::-1]))),
    Kind("moved by one pixel", "a crop off by one", _clip(_taken(WIDTH, lambda n: [*range(1, n), n - 1]))),
    Kind("height and width turned", "axes (W,H) for (H,W)", _clip(lambda copy, x: copy.emit("Transpose", x, perm=[0, 1, 2, 4, 3]))),
    Kind("pixels divided by 255", "another range of pixels", _clip(_one("Div", 255))),
    Kind("pixels off by 0.5", "another rounding", _clip(_one("Add", 0.5))),
    Kind("a mean subtracted again", "preprocessing inside and outside", _clip(_by_channel("Sub", MEAN))),
    Kind("divided by a deviation again", "preprocessing inside and outside", _clip(_by_channel("Div", DEVIATION))),
    Kind("pixels rounded", "uint8 inside the graph", _clip(lambda copy, x: copy.emit("Round", x))),
    Kind("negative pixels cut off", "uint8 inside the graph", _clip(lambda copy, x: copy.emit("Relu", x))),
)  # fmt: skip
"""In front of the network. A localiser sees them at the first layer, but no layer is to blame."""
