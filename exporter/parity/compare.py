"""One answer against the truth: errors, share of the budget, highest classes, verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.parity.tolerance import Tolerance
from exporter.results import Comparison, TopKAgreement

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOP_K = 5


@dataclass(frozen=True)
class Expected:
    """What one output should be.

    Attributes:
        exact: (N, …) float64, the truth.
        single: (N, …), the reference's float32.
        against: (N, …), what else the artifact is compared with, or None.
        ranked: whether it holds class scores, of which the highest are compared.
    """

    exact: NDArray[np.float64]
    single: NDArray[Any]
    against: NDArray[Any] | None = None
    ranked: bool = True


def compare(name: str, output: str, answer: NDArray[Any], expected: Expected, rule: Tolerance) -> Comparison:
    """Judge one output of one batch: each row has its own budget, and the row that uses most of its own is told.

    A row passes when the rule says so and its NaN and infinities are where the reference's float32 has them, no more
    and no fewer. An answer of another shape fails.

    Args:
        name: the input's name.
        output: the output's name.
        answer: (N, …), what the artifact answered.
        expected: the truth and the measure.
        rule: how far the answer may be from it.
    """
    exact, single = _rows(expected.exact), _rows(expected.single)
    sound = answer.shape == expected.exact.shape
    given = _rows(answer) if sound else np.full(exact.shape, np.nan)
    judged = [_row(given[i], single[i], exact[i], rule) for i in range(len(exact))]
    worst = max(range(len(judged)), key=lambda i: (not judged[i].nonfinite_match, judged[i].budget_used))
    row = judged[worst]
    classes = expected.ranked and expected.exact.ndim == 2 and sound
    budgets = np.array([row.budget for row in judged])
    against = expected.against
    return Comparison(
        input=name,
        output=output,
        batch=len(exact),
        max_error=row.error if sound else math.inf,
        mean_error=row.mean if sound else math.inf,
        reference_max_error=row.reference_error,
        reference_mean_error=row.reference_mean,
        budget=row.budget,
        budget_used=row.budget_used if row.nonfinite_match and sound else math.inf,
        scale=row.scale,
        cosine=min(row.cosine for row in judged),
        snr_db=min(row.snr_db for row in judged),
        top1=_agreement(given, exact, budgets, 1) if classes else None,
        top5=_agreement(given, exact, budgets, TOP_K) if classes and exact.shape[1] > TOP_K else None,
        max_abs_diff=None if against is None or against.shape != answer.shape else _distance(given, _rows(against)),
        passed=sound and all(row.nonfinite_match and row.budget_used <= 1 for row in judged),
    )


@dataclass(frozen=True)
class _Row:
    nonfinite_match: bool  # NaN and infinities where the reference has them
    error: float
    mean: float
    reference_error: float
    reference_mean: float
    budget: float
    budget_used: float
    scale: float
    cosine: float
    snr_db: float


def _row(answer: NDArray[Any], single: NDArray[Any], exact: NDArray[Any], rule: Tolerance) -> _Row:
    """Judge one row on the numbers that float32 can hold."""
    holds = np.isfinite(single) & np.isfinite(exact)
    nonfinite_match = np.array_equal(nonfinite_class(answer), nonfinite_class(single))
    shown = holds & np.isfinite(answer)
    a, s, e = answer[shown], single[shown], exact[shown]
    budget, share = rule.judge(a, s, e) if a.size else (0.0, 0.0)
    errors, own = np.abs(a - e), np.abs(s - e)
    norm, noise = float(np.linalg.norm(e)), float(np.linalg.norm(errors))
    both = norm * float(np.linalg.norm(a))
    return _Row(
        nonfinite_match,
        math.inf if not nonfinite_match else float(errors.max(initial=0)),
        math.inf if not nonfinite_match else float(errors.mean()) if a.size else 0.0,
        float(own.max(initial=0)),
        float(own.mean()) if a.size else 0.0,
        budget,
        share,
        float(np.abs(e).max(initial=0)),
        float(a @ e) / both if both > 0 else float(nonfinite_match and noise == 0),
        math.inf if noise == 0 else 20 * math.log10(norm / noise) if norm > 0 else -math.inf,
    )


def nonfinite_class(values: NDArray[Any]) -> NDArray[Any]:
    """Return 0 for a number, 1 or -1 for an infinity, 2 for NaN."""
    return np.where(np.isnan(values), 2, np.where(np.isinf(values), np.sign(values), 0))


def _agreement(values: NDArray[Any], exact: NDArray[Any], budgets: NDArray[Any], count: int) -> TopKAgreement:
    """Tell whether the `count` highest classes are the same in every row.

    Each number may be off by the budget, so classes closer than two budgets to the boundary are a tie.
    """
    reported: TopKAgreement = "same"
    for row, wanted, budget in zip(values, exact, budgets, strict=True):
        if not (np.isfinite(row).all() and np.isfinite(wanted).all()):
            continue
        if {*top_k(row, count)} == {*top_k(wanted, count)}:
            continue
        boundary = wanted[top_k(wanted, count)].min()
        least = min(wanted[top_k(row, count)].min(), boundary)
        if boundary - least > 2 * budget:
            return "differs"
        reported = "tie"
    return reported


def top_k(scores: NDArray[Any], count: int) -> NDArray[np.intp]:
    """Return the classes of the `count` highest scores, the highest first; equal scores by class."""
    return np.argsort(-scores, kind="stable")[:count]


def _distance(answer: NDArray[Any], other: NDArray[Any]) -> float:
    both = np.isfinite(answer) & np.isfinite(other)
    same = (np.isnan(answer) == np.isnan(other)).all()
    return float(np.abs(answer[both] - other[both]).max(initial=0)) if same else math.inf


def _rows(values: NDArray[Any]) -> NDArray[np.float64]:
    return (
        values.astype(np.float64).reshape(len(values), -1) if values.ndim else values.astype(np.float64).reshape(1, 1)
    )
