"""How large the errors of all numbers are, as shares of their budgets: what a histogram is drawn of."""

from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.parity.tolerance import Rule
from exporter.parity.trials import Answers
from exporter.parity.truth import Truth
from exporter.verdicts import Distribution

if TYPE_CHECKING:
    from numpy.typing import NDArray

EDGES = (0.0, *(10.0**power for power in np.arange(-4, 2.25, 0.25)), np.inf)
"""Four bins a decade, from a ten-thousandth of the budget to a hundred times it; 1 is an edge."""


def distributions(answers: Answers, truth: Truth, rule: Rule) -> tuple[Distribution, ...]:
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
    return tuple(count.told(output) for output, count in counts.items())


class _Counts:
    """The counts of one output, added up row by row."""

    def __init__(self) -> None:
        self.bins = np.zeros((2, len(EDGES) - 1), np.int64)  # the artifact's, the reference's
        self.exact = np.zeros(2, np.int64)
        self.lost = 0

    def add(self, answer: "NDArray[Any]", single: "NDArray[Any]", exact: "NDArray[Any]", rule: Rule) -> None:
        """Add one row, (width,) each."""
        holds = np.isfinite(single) & np.isfinite(exact)
        shown = holds & np.isfinite(answer)
        same = (np.isfinite(answer) == np.isfinite(single)) & (np.isnan(answer) == np.isnan(single))
        self.lost += int((~same).sum())
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
            bins = np.clip(np.searchsorted(EDGES, shares, side="left") - 1, 0, len(EDGES) - 2)
            self.bins[place] += np.bincount(bins, minlength=len(EDGES) - 1)

    def told(self, output: str) -> Distribution:
        """Return the sums."""
        artifact, reference = (tuple(map(int, counts)) for counts in self.bins)
        exact = tuple(map(int, self.exact))
        return Distribution(output, tuple(map(float, EDGES)), artifact, reference, exact[0], exact[1], self.lost)
