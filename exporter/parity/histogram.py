"""Histograms of the errors of all numbers, each divided by its budget."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.parity.discrete import is_discrete
from exporter.parity.execution import RunResult
from exporter.parity.golden import GoldenOutputs
from exporter.parity.row_tolerances import Tolerances
from exporter.parity.tolerance import Tolerance
from exporter.results import ErrorHistogram

BIN_EDGES = (0.0, *(float(10.0**power) for power in np.arange(-4, 2.25, 0.25)), float("inf"))
"""Four bins a decade, from a ten-thousandth of the budget to a hundred times the budget; 1 is an edge."""


def error_histograms(result: RunResult, golden: GoldenOutputs, tolerances: Tolerances) -> tuple[ErrorHistogram, ...]:
    """Count the errors of every output number, one histogram for each output.

    A row in several batches counts each time, for the artifact and for the float32 baseline. An output of another shape
    than the reference's is left out, and so is a discrete one.

    Args:
        result: the artifact's outputs.
        golden: holds the reference of every row in `result`.
        tolerances: give each number its budget.
    """
    counters: dict[str, _Counter] = {}
    for batch, outputs in result.batches:
        for output, values in outputs.items():
            float64, float32 = golden.float64(output, batch.rows), golden.float32(output, batch.rows)
            if values.shape != float64.shape or is_discrete(float64):
                continue
            counter = counters.setdefault(output, _Counter())
            tolerance = tolerances.of(batch.rows, output)
            for item in range(len(float64)):
                arrays = (values[item].ravel(), float32[item].ravel(), float64[item].ravel())
                counter.add(*arrays, tolerance.item(item))
    return tuple(counter.to_histogram(output) for output, counter in counters.items())


class _Counter:
    """The counts of one output, summed over batch items."""

    def __init__(self) -> None:
        self.bins = np.zeros((2, len(BIN_EDGES) - 1), np.int64)  # the artifact's, the float32 baseline's
        self.exact = np.zeros(2, np.int64)
        self.nonfinite_mismatches = 0

    def add(self, values: NDArray[Any], float32: NDArray[Any], float64: NDArray[Any], tolerance: Tolerance) -> None:
        """Add one item, (width,) each."""
        finite = np.isfinite(float32) & np.isfinite(float64)
        same = (np.isfinite(values) == np.isfinite(float32)) & (np.isnan(values) == np.isnan(float32))
        self.nonfinite_mismatches += int((~same).sum())
        if not finite.any():
            return
        budgets = np.ones(float64.shape)
        budgets[finite] = tolerance.allowed(float32[finite].astype(np.float64), float64[finite])
        for index, (given, counted) in enumerate(((values, finite & np.isfinite(values)), (float32, finite))):
            wanted = float64[counted]
            with np.errstate(over="ignore"):  # float64 holds numbers that float32 rounds to infinity
                exact = given[counted].astype(np.float32) == wanted.astype(np.float32)
            self.exact[index] += int(exact.sum())
            errors = np.abs(given[counted].astype(np.float64) - wanted)[~exact]
            allowed = budgets[counted][~exact]
            ratios = np.divide(errors, allowed, out=np.full(errors.shape, np.inf), where=allowed > 0)
            # searchsorted, because np.histogram's bins hold their lower edge, and it takes no infinite ratio
            bins = np.clip(np.searchsorted(BIN_EDGES, ratios, side="left") - 1, 0, len(BIN_EDGES) - 2)
            self.bins[index] += np.bincount(bins, minlength=len(BIN_EDGES) - 1)

    def to_histogram(self, output: str) -> ErrorHistogram:
        """Return the sums."""
        artifact, float32 = (tuple(map(int, counts)) for counts in self.bins)
        return ErrorHistogram(
            output,
            BIN_EDGES,
            artifact,
            float32,
            artifact_exact=int(self.exact[0]),
            float32_exact=int(self.exact[1]),
            nonfinite_mismatches=self.nonfinite_mismatches,
        )
