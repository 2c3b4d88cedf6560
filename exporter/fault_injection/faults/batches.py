"""Faults that only a batch of several items shows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from exporter.fault_injection.faults.base import Build, FaultType, FindSites, Generator, find_outputs, insert_after
from exporter.fault_injection.graph import FaultyGraph, OriginalGraph

MIX = 0.001
INT64_END = 2**31
"""An end of a slice that is larger than any batch."""


def _find_values(graph: OriginalGraph) -> Iterable[str]:
    """List the values at which items can interact: the clip, pools, linear layers, outputs."""
    if graph.input_shape[0] == 1:
        return []
    linear = [layer.value for layer in graph.layers if layer.kind == "linear"]
    return dict.fromkeys([graph.clip[0], *find_outputs("MaxPool")(graph), *linear, *graph.float_outputs])


def _in_batch(build: Build) -> FindSites:
    return insert_after(_find_values, build, attributable=False)


def _shift(faulty: FaultyGraph, x: str, _: Generator) -> str:
    return faulty.emit("Concat", _slice(faulty, x, 1, INT64_END), _slice(faulty, x, 0, 1), axis=0)


def _slice(faulty: FaultyGraph, x: str, start: int, end: int) -> str:
    return faulty.emit("Slice", x, *(faulty.constant([number], np.int64) for number in (start, end, 0)))


def _mix(faulty: FaultyGraph, x: str, random: Generator) -> str:
    own = faulty.emit("Mul", x, faulty.constant(1 - MIX))
    return faulty.emit("Add", own, faulty.emit("Mul", _shift(faulty, x, random), faulty.constant(MIX)))


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
    FaultType("items shifted by one", "outputs assigned to the wrong clips", _in_batch(_shift)),
    FaultType("items mixed by 0.1 %", "memory shared between items", _in_batch(_mix)),
    FaultType(
        "the first item's output for all", "an output that is stale for the second item", _in_batch(_repeat_first)
    ),
    FaultType("batch statistics", "normalisation in training mode", _in_batch(_add_batch_mean)),
)
"""Faults between the items of a batch; none where a graph takes one item at a time."""
