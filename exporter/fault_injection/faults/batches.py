"""Faults that only a batch of several clips shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from exporter.fault_injection.faults.base import FaultSite, FaultType, insert_after
from exporter.fault_injection.graph import FaultyGraph, OriginalGraph

if TYPE_CHECKING:
    Build = Callable[[FaultyGraph, str, np.random.Generator], str]

MIX = 0.001
FAR = 2**31


def _sites(graph: OriginalGraph) -> Iterable[str]:
    """List where items can meet: the clip, the pools, the linear layers, the outputs."""
    if graph.batch == 1:
        return []
    linear = [layer.value for layer in graph.layers if layer.kind == "linear"]
    pools = [node.output[0] for node in graph.nodes("MaxPool")]
    return dict.fromkeys([graph.clip, *pools, *linear, *graph.outputs])


def _in_batch(build: Build) -> Callable[[OriginalGraph], Iterable[FaultSite]]:
    return insert_after(_sites, build, attributable=False)


def _moved(copy: FaultyGraph, x: str, _generator: np.random.Generator) -> str:
    ends = (copy.constant([number], np.int64) for number in (1, FAR, 0))
    return copy.emit("Concat", copy.emit("Slice", x, *ends), _first(copy, x), axis=0)


def _first(copy: FaultyGraph, x: str) -> str:
    ends = (copy.constant([number], np.int64) for number in (0, 1, 0))
    return copy.emit("Slice", x, *ends)


def _mixed(copy: FaultyGraph, x: str, generator: np.random.Generator) -> str:
    own = copy.emit("Mul", x, copy.constant(1 - MIX))
    return copy.emit("Add", own, copy.emit("Mul", _moved(copy, x, generator), copy.constant(MIX)))


def _stale(copy: FaultyGraph, x: str, _generator: np.random.Generator) -> str:
    return copy.emit("Expand", _first(copy, x), copy.emit("Shape", x))


def _normalised(copy: FaultyGraph, x: str, _generator: np.random.Generator) -> str:
    """Move each item by a thousandth of the batch's mean, as statistics over the batch would."""
    axes = copy.constant([0], np.int64)
    mean = copy.emit("ReduceMean", x, axes, keepdims=1)
    return copy.emit("Sub", x, copy.emit("Mul", copy.emit("Sub", mean, _first(copy, x)), copy.constant(MIX)))


BATCHES = (
    FaultType("items moved by one place", "outputs assigned to the wrong clips", _in_batch(_moved)),
    FaultType("items mixed by 0.1 %", "memory shared between items", _in_batch(_mixed)),
    FaultType("the first item's output for all", "an output that is stale for the second item", _in_batch(_stale)),
    FaultType("statistics of the batch", "normalisation in training mode", _in_batch(_normalised)),
)
"""Between the items of a batch; none where a graph takes one clip only."""
