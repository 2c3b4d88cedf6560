"""The second step of parity: compare one output with its reference. Nothing is run here."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.parity.discrete import NearTies, compare_discrete
from exporter.parity.tolerance import SnrTolerance, StoredWeightsTolerance, Tolerance, rounding_slack
from exporter.results import Comparison, TopKAgreement

TOP_K = 5
FLOAT16_STEP = 2.0**-24
"""The smallest difference of two numbers in float16: an output in float16 states no smaller one."""


@dataclass(frozen=True)
class Expected:
    """The reference of one output on one batch.

    Attributes:
        float64: (N, …), the float64 reference.
        float32: (N, …), the float32 baseline.
        against: (N, …), the second engine's output; None without one.
        ranked: whether it holds class scores, whose highest classes are compared.
        ties: for each row of the batch its near ties, where the output is discrete; None for a float output.
    """

    float64: NDArray[np.float64]
    float32: NDArray[Any]
    against: NDArray[Any] | None = None
    ranked: bool = True
    ties: tuple[NearTies | None, ...] | None = None


def compare(name: str, output: str, values: NDArray[Any], expected: Expected, tolerance: Tolerance) -> Comparison:
    """Compare one output of one batch. Every item has its own budget; the one that uses most of it is reported.

    An item passes when its error is within the tolerance and its NaN and infinities are exactly where the float32
    baseline has them; where only the baseline overflows, the float64 reference must be met. Numbers in float16 may be
    off by its smallest step. An output of another shape fails. Discrete outputs are compared by `compare_discrete`.

    Args:
        name: the input's name.
        output: the output's name.
        values: (N, …), the artifact's output.
        expected: the reference.
        tolerance: how far the output may be from it.
    """
    ties = expected.ties
    if ties is None and expected.float64.shape != expected.float32.shape:
        ties = (None,)  # the number of rows depends on the data, and float32 decided otherwise
    against = expected.against
    if ties is not None:
        row = compare_discrete(name, output, values, (expected.float64, expected.float32), ties, tolerance)
        compared = against is not None and against.shape == values.shape
        return replace(row, max_abs_diff=float(np.mean(values != against)) if compared and values.size else None)
    float64, float32 = _flatten(expected.float64), _flatten(expected.float32)
    valid = values.shape == expected.float64.shape
    given = _flatten(values) if valid else np.full(float64.shape, np.nan)
    if values.dtype == np.float16:
        with np.errstate(invalid="ignore"):  # infinities of both
            given = np.where(np.abs(given - float64) <= FLOAT16_STEP, float64, given)
    items = [
        _compare_item(name, output, *arrays, tolerance.item(item))
        for item, arrays in enumerate(zip(given, float32, float64, strict=True))
    ]
    worst = max(items, key=lambda item: item.budget_used)
    if not valid:
        worst = replace(worst, max_error=math.inf, mean_error=math.inf, budget_used=math.inf)
    classes = expected.ranked and valid and is_ranking(expected.float64)
    budgets = np.array([item.budget for item in items])
    return replace(
        worst,
        batch=len(items),
        cosine=min(item.cosine for item in items),
        snr_db=min(item.snr_db for item in items),
        top1=_compare_top_k(given, float64, budgets, 1) if classes else None,
        top5=_compare_top_k(given, float64, budgets, TOP_K) if classes and float64.shape[1] > TOP_K else None,
        max_abs_diff=None if against is None or against.shape != values.shape else _distance(given, _flatten(against)),
        passed=valid and all(item.passed for item in items),
    )


def is_ranking(values: NDArray[Any]) -> bool:
    """Return whether values (N, classes) have a highest class that another could be."""
    return values.ndim == 2 and values.shape[1] > 1


def _compare_item(
    name: str,
    output: str,
    values: NDArray[Any],
    float32: NDArray[Any],
    float64: NDArray[Any],
    tolerance: Tolerance,
) -> Comparison:
    """Compare one batch item, (width,), on the numbers that are finite in all three."""
    same = nonfinite_class(values) == nonfinite_class(float32)
    nonfinite_match = bool((same | _is_wider(values, float32, float64)).all())
    finite = np.isfinite(float32) & np.isfinite(float64) & np.isfinite(values)
    given, baseline, exact = values[finite], float32[finite], float64[finite]
    budget, used = tolerance.measure(given, baseline, exact) if given.size else (0.0, 0.0)
    errors, own = np.abs(given - exact), np.abs(baseline - exact)
    signal, noise = float(np.linalg.norm(exact)), float(np.linalg.norm(errors))
    norms = signal * float(np.linalg.norm(given))
    return Comparison(
        input=name,
        output=output,
        batch=1,
        max_error=float(errors.max(initial=0)) if nonfinite_match else math.inf,
        mean_error=(float(errors.mean()) if given.size else 0.0) if nonfinite_match else math.inf,
        float32_max_error=float(own.max(initial=0)),
        float32_mean_error=float(own.mean()) if given.size else 0.0,
        budget=budget,
        budget_used=used if nonfinite_match else math.inf,
        scale=float(np.abs(exact).max(initial=0)),
        cosine=float(given @ exact) / norms if norms > 0 else float(nonfinite_match and noise == 0),
        snr_db=math.inf if noise == 0 else 20 * math.log10(signal / noise) if signal > 0 else -math.inf,
        passed=nonfinite_match and used <= 1,
        min_snr_db=_min_snr_db(tolerance),
    )


def _min_snr_db(tolerance: Tolerance) -> float | None:
    limit = tolerance.limit if isinstance(tolerance, StoredWeightsTolerance) else tolerance
    return limit.min_snr_db if isinstance(limit, SnrTolerance) and limit.min_snr_db > 0 else None


def _is_wider(values: NDArray[Any], float32: NDArray[Any], float64: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where float32 overflows and values do not, because they are computed in float64, and are right."""
    wider = np.isfinite(values) & np.isfinite(float64) & ~np.isfinite(float32)
    with np.errstate(invalid="ignore"):
        return wider & (np.abs(values - float64) <= rounding_slack(float64))


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
    """Return float64 values as (N, width); of complex numbers both parts; an empty output is one item."""
    if values.dtype.kind == "c":
        values = np.stack([np.real(values), np.imag(values)], -1)
    rows = len(values) if values.ndim and values.size else 1
    return values.astype(np.float64).reshape(rows, values.size // rows)
