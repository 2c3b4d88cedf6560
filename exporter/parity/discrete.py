"""Compares outputs of labels, masks, indices, rounded numbers and strings: by the fraction of equal elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from exporter.parity.decisions.nodes import Array, Mask
from exporter.parity.tolerance import ERROR_FACTOR, MIN_BASELINE_ERROR, AllcloseTolerance, Tolerance, rounding_slack
from exporter.results import Comparison


class NearTies(Protocol):
    """Which elements of one item may differ from the float64 reference, and to what."""

    def accepts(self, positions: NDArray[np.intp], candidates: Array) -> Mask:
        """Return whether the allowed error of the float values permits each candidate, (M,), at its position."""
        ...

    def uncertain(self, size: int) -> tuple[Mask, Mask]:
        """Return which of the item's elements, (size,), are near a tie, and which depend on rounded numbers."""
        ...


@dataclass(frozen=True)
class _Counts:
    """Numbers of elements of one item.

    Attributes:
        size: all of them.
        differing: those that differ from float64.
        float32_differing: those of the float32 baseline that do.
        permitted: those that may differ.
        rejected: those that differ without being permitted to.
        inexact: those that depend on numbers that float32 rounds.
    """

    size: int
    differing: int
    float32_differing: int
    permitted: int
    rejected: int
    inexact: int

    @property
    def budget_used(self) -> float:
        """The elements that differ per element that may; above 1 where one is an error."""
        if self.rejected:
            return 1 + self.rejected / max(1, self.permitted)
        return min(1.0, self.differing / max(1, self.permitted))

    def fraction(self, count: int) -> float:
        """Return a count as a fraction of the elements."""
        return count / max(1, self.size)


def is_discrete(values: Array) -> bool:
    """Return whether an output holds no floating-point or complex numbers; bfloat16 and float8 have no NumPy kind."""
    return values.dtype.kind not in "fc" and "float" not in values.dtype.name


def compare_discrete(
    name: str,
    output: str,
    values: Array,
    reference: tuple[Array, Array],
    ties: Sequence[NearTies | None],
    tolerance: Tolerance,
) -> Comparison:
    """Compare one output of one batch. The item with most errors, or else with most differences, is reported.

    An element passes if it equals the float64 reference or the float32 baseline there, or if it is a near tie. Where
    float64 and float32 have different shapes (the number of rows depends on the data), one of the two must be met
    exactly. Below float32 the fraction of equal elements over all inputs decides too (see `evaluate`), and alone where
    they are not followed to float values.

    Args:
        name: the input's name.
        output: the output's name.
        values: (N, …), the artifact's output.
        reference: (N, …) each, the float64 reference and the float32 baseline.
        ties: for each input of the batch its near ties, None where the output is not followed to float values.
        tolerance: that of the artifact.
    """
    (float64, float32), rows = reference, len(ties)
    if values.shape not in (float64.shape, float32.shape):
        return _row(name, output, rows, _Counts(1, 1, 0, 0, 1, 1), 0, math.inf, passed=False)
    if float64.shape != float32.shape:
        ties = (None,) * len(ties)
        float64 = float64 if values.shape == float64.shape else float32
    batched = len(ties) > 1 and float64.shape[:1] == (len(ties),)
    ties = ties if batched or len(ties) == 1 else (None,)  # the output has no batch axis
    parts = [array if batched else array[None] for array in (values, float64, float32)]
    if float64.shape != float32.shape:
        parts[2] = parts[1]
    counts = [
        _compare_item([part[index : index + 1].reshape(-1) for part in parts], found, tolerance)
        for index, found in enumerate(ties)
    ]
    worst = max(counts, key=lambda count: (count.budget_used, count.differing))
    approximate = tolerance.min_top1 is not None
    followed = all(found is not None for found in ties)
    passed = (approximate and not followed) or not any(count.rejected for count in counts)
    used = worst.fraction(worst.differing) if approximate else worst.budget_used
    budget = 1.0 if approximate else worst.fraction(worst.permitted)
    return _row(name, output, rows, worst, budget, used, passed=passed)


def _row(
    name: str, output: str, batch: int, counts: _Counts, budget: float, used: float, *, passed: bool
) -> Comparison:
    error, own = counts.fraction(counts.differing), counts.fraction(counts.float32_differing)
    return Comparison(
        input=name,
        output=output,
        batch=batch,
        max_error=error,
        mean_error=error,
        float32_max_error=own,
        float32_mean_error=own,
        budget=budget,
        budget_used=used,
        scale=1.0,
        cosine=math.nan,
        snr_db=math.nan,
        passed=passed,
        equal=1 - error,
        near_ties=min(1.0, counts.permitted / max(1, counts.inexact)),
    )


def _compare_item(arrays: Sequence[Array], ties: NearTies | None, tolerance: Tolerance) -> _Counts:
    """Count the elements of one item: its values, the float64 reference, the float32 baseline, (width,) each."""
    values, float64, float32 = arrays
    differs, baseline = ~_same(values, float64), ~_same(float32, float64)
    rejected = differs & ~_same(values, float32, exactly=True)
    if isinstance(tolerance, AllcloseTolerance) and values.dtype.kind in "iuf":
        rejected &= ~(np.abs(values.astype(np.float64) - float64.astype(np.float64)) <= tolerance.atol)
    permitted, inexact = baseline, np.ones(values.size, bool)
    if ties is not None and values.dtype.kind == "f":
        hidden = ~differs & _is_refused(values, float64, float32, ties)
        rejected, differs = rejected | hidden, differs | hidden
    if ties is not None and differs.any():
        positions = np.flatnonzero(rejected)
        rejected[positions] = ~ties.accepts(positions, values[positions])
        uncertain, inexact = ties.uncertain(values.size)
        permitted = permitted | uncertain
    counts = (int(mask.sum()) for mask in (differs, baseline, permitted, rejected, inexact))
    return _Counts(values.size, *counts)


def _is_refused(values: Array, float64: Array, float32: Array, ties: NearTies) -> Mask:
    """Return where floats are none that the decisions behind them permit, however large the others of the output are.

    Where the decisions do not even permit the reference, they are not known.
    """
    refused = ~_same(values, float64, each=True) & ~_same(values, float32, exactly=True)
    positions = np.flatnonzero(refused)
    if positions.size:
        known = ties.accepts(positions, float64[positions])
        refused[positions] = known & ~ties.accepts(positions, values[positions])
    return refused


def _same(values: Array, others: Array, *, exactly: bool = False, each: bool = False) -> Mask:
    """Return whether elements are equal; floating-point numbers up to the rounding of float32.

    Args:
        values: (width,).
        others: (width,).
        exactly: without that rounding.
        each: with the rounding of each number instead of the largest one's.
    """
    if values.dtype.kind != "f" or others.dtype.kind != "f":
        return np.asarray(values == others, bool)
    slack = 0.0 if exactly else rounding_slack(others)
    if each:
        slack = ERROR_FACTOR * MIN_BASELINE_ERROR * np.abs(others)
    with np.errstate(invalid="ignore"):
        near = np.abs(values.astype(np.float64) - others.astype(np.float64)) <= slack
    return near | (values == others) | (np.isnan(values) & np.isnan(others))
