"""How large the errors of all numbers are, as shares of their budgets: what a histogram is drawn of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.parity.execution import RunResult
from exporter.parity.golden import GoldenOutputs
from exporter.parity.tolerance import Tolerance
from exporter.results import ErrorHistogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

BIN_EDGES = (0.0, *(10.0**power for power in np.arange(-4, 2.25, 0.25)), np.inf)
"""Four bins a decade, from a ten-thousandth of the budget to a hundred times it; 1 is an edge."""


def error_histograms(answers: RunResult, truth: GoldenOutputs, rule: Tolerance) -> tuple[ErrorHistogram, ...]:
    """Count the errors of every number that was answered, an entry per output, each row against its own budget.

    A row that stands in several batches counts each time for the artifact, and so it does for the reference. An answer
    of another shape than the truth's has no errors that could be counted.

    Args:
        answers: the artifact's.
        truth: has every row of them.
        rule: gives each number its budget.
    """
    counts: dict[str, _Counts] = {}
    for batch, outputs in answers.batches:
        for output, values in outputs.items():
            exact, single = truth.exact(output, batch.rows), truth.single(output, batch.rows)
            if values.shape != exact.shape:
                continue
            count = counts.setdefault(output, _Counts())
            for row in range(len(exact)):
                count.add(values[row].ravel(), single[row].ravel(), exact[row].ravel(), rule)
    return tuple(count.reported(output) for output, count in counts.items())


class _Counts:
    """The counts of one output, added up row by row."""

    def __init__(self) -> None:
        self.bins = np.zeros((2, len(BIN_EDGES) - 1), np.int64)  # the artifact's, the reference's
        self.exact = np.zeros(2, np.int64)
        self.nonfinite_mismatches = 0

    def add(self, answer: NDArray[Any], single: NDArray[Any], exact: NDArray[Any], rule: Tolerance) -> None:
        """Add one row, (width,) each."""
        holds = np.isfinite(single) & np.isfinite(exact)
        shown = holds & np.isfinite(answer)
        same = (np.isfinite(answer) == np.isfinite(single)) & (np.isnan(answer) == np.isnan(single))
        self.nonfinite_mismatches += int((~same).sum())
        if not holds.any():
            return
        truth = exact[holds].astype(np.float64)
        budgets = np.ones(exact.shape)
        budgets[holds] = rule.allowed(single[holds].astype(np.float64), truth)
        for place, (values, counted) in enumerate(((answer, shown), (single, holds))):
            wanted = exact[counted].astype(np.float64)
            with np.errstate(over="ignore"):  # float64 holds numbers that float32 rounds to infinity
                right = values[counted].astype(np.float32) == wanted.astype(np.float32)
            self.exact[place] += int(right.sum())
            errors = np.abs(values[counted].astype(np.float64) - wanted)[~right]
            allowed = budgets[counted][~right]
            shares = np.divide(errors, allowed, out=np.full(errors.shape, np.inf), where=allowed > 0)
            # searchsorted, because np.histogram's bins hold their lower edge, and it takes no infinite share
            bins = np.clip(np.searchsorted(BIN_EDGES, shares, side="left") - 1, 0, len(BIN_EDGES) - 2)
            self.bins[place] += np.bincount(bins, minlength=len(BIN_EDGES) - 1)

    def reported(self, output: str) -> ErrorHistogram:
        """Return the sums."""
        artifact, reference = (tuple(map(int, counts)) for counts in self.bins)
        exact = tuple(map(int, self.exact))
        return ErrorHistogram(
            output, tuple(map(float, BIN_EDGES)), artifact, reference, exact[0], exact[1], self.nonfinite_mismatches
        )
