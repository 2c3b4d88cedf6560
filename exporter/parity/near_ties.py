"""Near ties of a model file's outputs: its decisions, with the float values of one input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from exporter.engines.reference.operators import NodeError
from exporter.errors import C3DExportError, OutOfMemoryError
from exporter.isolation.worker import native_call
from exporter.parity.decisions import DecisionGraph, Node, Run
from exporter.parity.discrete import NearTies, is_discrete
from exporter.parity.feeds import cast_feeds, is_printed
from exporter.parity.golden import GoldenOutputs
from exporter.parity.tolerance import Tolerance
from exporter.results import PRECISIONS, ReferencePrecision

T = TypeVar("T")

MAX_KEPT_BYTES = 64 << 20
"""Values of several inputs are kept while they are not larger: the self-test compares many files on a few inputs."""


class DecidingValues:
    """The float values behind the discrete outputs of a model file; those of the last inputs are kept."""

    def __init__(self, golden: GoldenOutputs, graph: DecisionGraph) -> None:
        self.golden, self.graph = golden, graph
        self._found: dict[tuple[int, Node, Tolerance], Run | None] = {}

    def run(self, tree: Node, row: int, tolerance: Tolerance) -> Run | None:
        """Return the values of one input, in float64 and in float32; None where an engine cannot return them."""
        key = (row, tree, tolerance)
        if key not in self._found:
            if sum(found.nbytes for found in self._found.values() if found) > MAX_KEPT_BYTES:
                self._found.clear()
            self._found[key] = self._run(tree, row, tolerance)
        return self._found[key]

    def _run(self, tree: Node, row: int, tolerance: Tolerance) -> Run | None:
        golden, needed = self.golden, tree.names()
        inputs = needed & self.graph.inputs
        arrays: dict[ReferencePrecision, dict[str, NDArray[Any]]] = {}
        for precision in PRECISIONS:
            golden.progress(f"the values that decide, in {precision}, input {golden.inputs.names[row]}")
            try:
                with golden.source.open(precision, extra_outputs=tuple(sorted(needed - inputs))) as runtime:
                    rows = golden.inputs.fill(row, runtime.signature.batch)
                    feeds = cast_feeds(runtime.signature.inputs, golden.inputs.select(rows))
                    arrays[precision] = {**runtime.run(feeds), **{name: feeds[name] for name in inputs}}
            except OutOfMemoryError:
                raise
            except C3DExportError:  # an engine that does not expose one of them
                return None
        float64, float32 = arrays["float64"], arrays["float32"]
        shared = all(name in float64 and name in float32 for name in needed)
        if not shared or any(float64[name].shape != float32[name].shape for name in needed):
            return None
        return Run(float64, float32, tolerance)


@dataclass(frozen=True)
class RowTies:
    """The near ties of one output on one input; see `NearTies`. The item is the first of a fixed batch.

    The float values are computed when they are first asked for. Without them nothing is a near tie.
    """

    values: DecidingValues
    tree: Node
    row: int
    tolerance: Tolerance

    def accepts(self, positions: NDArray[np.intp], candidates: NDArray[Any]) -> NDArray[np.bool_]:
        """See `NearTies`."""
        none = np.zeros(positions.shape, bool)
        if not positions.size:
            return none
        return self._trace(lambda run: self.tree.accepts(run, positions, candidates), none)

    def uncertain(self, size: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """See `NearTies`."""
        bounds = self._trace(lambda run: run.bounds(self.tree), None)
        if bounds is None:
            return np.zeros(size, bool), np.ones(size, bool)
        return bounds.uncertain.reshape(-1)[:size], bounds.inexact.reshape(-1)[:size]

    def _trace(self, follow: Callable[[Run], T], unknown: T) -> T:
        """Return what `follow` makes of the float values; `unknown` where they, or a float64 kernel, are missing."""
        run = self.values.run(self.tree, self.row, self.tolerance)
        try:
            with native_call("the tracing of decisions", self.values.graph.path):
                return unknown if run is None else follow(run)
        except NodeError:
            return unknown


def find_near_ties(
    golden: GoldenOutputs, output: str, rows: Sequence[int], tolerance: Tolerance
) -> tuple[NearTies | None, ...] | None:
    """Return the near ties of an output for each row; None for a float output without a decision at its end.

    Args:
        golden: holds the reference of the rows.
        output: the output's name.
        rows: the rows of a batch.
        tolerance: the allowed error of the float values.
    """
    discrete = is_discrete(golden.float64(output, rows[:1]))
    if is_printed(output, golden.source):
        return None
    graph = golden.source.decisions
    tree = None if graph is None else graph.trace(output)
    if graph is None or tree is None or not tree.decides:
        return (None,) * len(rows) if discrete else None
    if not discrete and tolerance.min_top1 is not None:
        return None
    values = golden.kept("deciding values", lambda: DecidingValues(golden, graph))
    return tuple(RowTies(values, tree, row, tolerance) for row in rows)
