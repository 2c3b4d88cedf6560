"""Faults in the preprocessing that a graph has inside: channel order, mean, crop, interpolation, rounding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from exporter.fault_injection.faults.base import Build, FaultSite, FaultType, FindSites, Generator, Inject, insert_after
from exporter.fault_injection.graph import FaultyGraph, OriginalGraph
from exporter.formats.onnx_preprocess.nodes import CLIP_VALUE, PREFIX

COLOUR_AXIS = 4
"""Of frames (N, T, H, W, 3)."""
MEAN, SCALE = "preprocess.mean", "preprocess.scale"
ROWS, ROUNDED = "preprocess.upper.rows.out", "preprocess.sum.rounding.out"
"""The first pixels that are taken of the frames, and what is added to them before they are rounded to uint8."""
AXES = ("rows", "columns")
WEIGHT_ONE = 2048
"""OpenCV's weight of 1, where weights are integers."""


def _once(inject: Inject, *needed: str, first: str = CLIP_VALUE) -> FindSites:
    """Inject a fault into the preprocessing of a graph.

    Args:
        inject: puts it into a faulty copy.
        needed: constants without which the graph cannot have it.
        first: the first value that becomes wrong; a graph without it cannot have the fault.
    """

    def find_sites(graph: OriginalGraph) -> Iterable[FaultSite]:
        possible = {CLIP_VALUE, first} <= {*graph.values} and {*needed} <= {*graph.weights}
        return [FaultSite(PREFIX, first, inject)] if possible else []

    return find_sites


def _on_each_axis(steps: Sequence[tuple[str, Build]]) -> FindSites:
    """Insert nodes after a value of each axis.

    Args:
        steps: (the value's name after the axis, what is inserted), of which the first that the graph has is taken.
    """

    def find_sites(graph: OriginalGraph) -> Iterable[FaultSite]:
        for axis in AXES if CLIP_VALUE in graph.values else ():
            named = [(f"preprocess.{axis}.{name}.out", build) for name, build in steps]
            for value, build in [row for row in named if row[0] in graph.values][:1]:
                yield from insert_after(lambda _graph, value=value: [value], build)(graph)

    return find_sites


def _reverse_colours(faulty: FaultyGraph, _: Generator) -> None:
    frames = faulty.original.input_name
    faulty.wrap(frames, lambda copy, x: copy.emit("Gather", x, copy.constant([2, 1, 0], np.int64), axis=COLOUR_AXIS))


def _drop_consumer(name: str) -> Inject:
    """Return what leaves out the operator that a constant is the second input of."""

    def inject(faulty: FaultyGraph, _: Generator) -> None:
        node = next(node for node in faulty.graph.node if name in node.input)
        value = node.output[0]
        if value == CLIP_VALUE:
            node.op_type = "Identity"
            del node.input[1:]
        else:
            faulty.drop(value)

    return inject


def _reverse_mean(faulty: FaultyGraph, _: Generator) -> None:
    faulty.set(MEAN, np.flip(faulty.original.weights[MEAN], 1))


def _add(number: float, dtype: type[np.generic]) -> Build:
    return lambda faulty, x, _: faulty.emit("Add", x, faulty.constant([number], dtype))


def _nearest_integer(faulty: FaultyGraph, x: str) -> str:
    """Return 0 or 2048, whichever a weight is nearer to."""
    one, half = faulty.constant([WEIGHT_ONE], np.int64), faulty.constant([WEIGHT_ONE // 2], np.int64)
    return faulty.emit("Mul", faulty.emit("Div", faulty.emit("Add", x, half), one), one)


def _nearest(faulty: FaultyGraph, x: str, _: Generator) -> str:
    return _nearest_integer(faulty, x) if _has_integer_weights(faulty.original) else faulty.emit("Round", x)


def _has_integer_weights(graph: OriginalGraph) -> bool:
    return ROUNDED in graph.values


def _truncate(faulty: FaultyGraph, _: Generator) -> None:
    faulty.drop(ROUNDED)


PREPROCESSING = (
    FaultType("frames in BGR", "frames of OpenCV, which reads BGR", _once(_reverse_colours, first=ROWS)),
    FaultType("mean missing", "the mean was left to the caller", _once(_drop_consumer(MEAN), MEAN)),
    FaultType("mean of reversed channels", "the mean of another channel order", _once(_reverse_mean, MEAN)),
    FaultType("scale missing", "another range of pixel values", _once(_drop_consumer(SCALE), SCALE)),
    FaultType(
        "crop shifted by one pixel",
        "the centre rounded the other way",
        _on_each_axis((("pixel", _add(1, np.int64)), ("centre", _add(1, np.float32)))),
    ),
    FaultType("nearest pixel for interpolation", "another interpolation", _on_each_axis((("after", _nearest),))),
    FaultType(
        "pixel corners for pixel centres",
        "a resize that is half a pixel off",
        _on_each_axis((("odd", _add(-1, np.int64)), ("centre", _add(-0.5, np.float32)))),
    ),
    FaultType("pixels rounded down", "a cast for a rounding", _once(_truncate, first=ROUNDED)),
)
"""Faults of a graph with its preprocessing inside; the layer at fault is the clip that it makes."""
