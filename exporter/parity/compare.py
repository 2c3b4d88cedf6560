"""The second step of parity: compare one output with its reference. Nothing is run here."""

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
    """The reference of one output on one batch.

    Attributes:
        float64: (N, …), the float64 reference.
        float32: (N, …), the float32 baseline.
        against: (N, …), the second engine's output; None without one.
        ranked: whether it holds class scores, whose highest classes are compared.
    """

    float64: NDArray[np.float64]
    float32: NDArray[Any]
    against: NDArray[Any] | None = None
    ranked: bool = True


def compare(name: str, output: str, values: NDArray[Any], expected: Expected, tolerance: Tolerance) -> Comparison:
    """Compare one output of one batch. Every item has its own budget; the one that uses most of it is reported.

    An item passes when its error is within the tolerance and its NaN and infinities are exactly where the float32
    baseline has them. An output of another shape fails.

    Args:
        name: the input's name.
        output: the output's name.
        values: (N, …), the artifact's output.
        expected: the reference.
        tolerance: how far the output may be from it.
    """
    float64, float32 = _flatten(expected.float64), _flatten(expected.float32)
    valid = values.shape == expected.float64.shape
    given = _flatten(values) if valid else np.full(float64.shape, np.nan)
    items = [_compare_item(given[i], float32[i], float64[i], tolerance) for i in range(len(float64))]
    worst = max(items, key=lambda item: (not item.nonfinite_match, item.budget_used))
    classes = expected.ranked and expected.float64.ndim == 2 and valid
    budgets = np.array([item.budget for item in items])
    against = expected.against
    return Comparison(
        input=name,
        output=output,
        batch=len(float64),
        max_error=worst.max_error if valid else math.inf,
        mean_error=worst.mean_error if valid else math.inf,
        float32_max_error=worst.float32_max_error,
        float32_mean_error=worst.float32_mean_error,
        budget=worst.budget,
        budget_used=worst.budget_used if worst.nonfinite_match and valid else math.inf,
        scale=worst.scale,
        cosine=min(item.cosine for item in items),
        snr_db=min(item.snr_db for item in items),
        top1=_compare_top_k(given, float64, budgets, 1) if classes else None,
        top5=_compare_top_k(given, float64, budgets, TOP_K) if classes and float64.shape[1] > TOP_K else None,
        max_abs_diff=None if against is None or against.shape != values.shape else _distance(given, _flatten(against)),
        passed=valid and all(item.nonfinite_match and item.budget_used <= 1 for item in items),
    )


@dataclass(frozen=True)
class _Item:
    nonfinite_match: bool  # NaN and infinities are where the float32 baseline has them
    max_error: float
    mean_error: float
    float32_max_error: float
    float32_mean_error: float
    budget: float
    budget_used: float
    scale: float
    cosine: float
    snr_db: float


def _compare_item(values: NDArray[Any], float32: NDArray[Any], float64: NDArray[Any], tolerance: Tolerance) -> _Item:
    """Compare one batch item, (width,), on the numbers that are finite in all three."""
    nonfinite_match = np.array_equal(nonfinite_class(values), nonfinite_class(float32))
    finite = np.isfinite(float32) & np.isfinite(float64) & np.isfinite(values)
    given, baseline, exact = values[finite], float32[finite], float64[finite]
    budget, used = tolerance.measure(given, baseline, exact) if given.size else (0.0, 0.0)
    errors, own = np.abs(given - exact), np.abs(baseline - exact)
    signal, noise = float(np.linalg.norm(exact)), float(np.linalg.norm(errors))
    norms = signal * float(np.linalg.norm(given))
    return _Item(
        nonfinite_match,
        float(errors.max(initial=0)) if nonfinite_match else math.inf,
        (float(errors.mean()) if given.size else 0.0) if nonfinite_match else math.inf,
        float(own.max(initial=0)),
        float(own.mean()) if given.size else 0.0,
        budget,
        used,
        float(np.abs(exact).max(initial=0)),
        float(given @ exact) / norms if norms > 0 else float(nonfinite_match and noise == 0),
        math.inf if noise == 0 else 20 * math.log10(signal / noise) if signal > 0 else -math.inf,
    )


def nonfinite_class(values: NDArray[Any]) -> NDArray[Any]:
    """Return 0 for a finite number, 1 or -1 for an infinity, 2 for NaN."""
    return np.where(np.isnan(values), 2, np.where(np.isinf(values), np.sign(values), 0))


def _compare_top_k(values: NDArray[Any], float64: NDArray[Any], budgets: NDArray[Any], k: int) -> TopKAgreement:
    """Return whether the `k` highest classes are the same in every item.

    Each score may be off by the budget, so classes closer than two budgets to the boundary are a tie.
    """
    result: TopKAgreement = "same"
    for item, wanted, budget in zip(values, float64, budgets, strict=True):
        if not (np.isfinite(item).all() and np.isfinite(wanted).all()):
            continue
        found, expected = top_k(item, k), top_k(wanted, k)
        if {*found} == {*expected}:
            continue
        if wanted[expected].min() - wanted[found].min() > 2 * budget:
            return "differs"
        result = "tie"
    return result


def top_k(scores: NDArray[Any], k: int) -> NDArray[np.intp]:
    """Return the classes of the `k` highest scores, the highest first; equal scores by class."""
    return np.argsort(-scores, kind="stable")[:k]


def _distance(values: NDArray[Any], others: NDArray[Any]) -> float:
    finite = np.isfinite(values) & np.isfinite(others)
    same_nan = (np.isnan(values) == np.isnan(others)).all()
    return float(np.abs(values[finite] - others[finite]).max(initial=0)) if same_nan else math.inf


def _flatten(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return float64 values as (N, width)."""
    return values.astype(np.float64).reshape((len(values), -1) if values.ndim else (1, 1))
