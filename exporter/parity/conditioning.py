"""Inputs on which a model magnifies rounding so much that one run in float32 does not show float32's error.

A normalisation of equal numbers divides the rounding of their mean by the square root of epsilon. Whether there is any
depends on the order of summation, even on the address of the numbers: one run has no error, the next one thousands of
times as much as the tolerance that follows from it. So where an artifact fails, the float32 baseline is also run on
inputs that differ by a rounding step: an engine cannot be more exact than its input (backward stability, Higham,
*Accuracy and Stability of Numerical Algorithms*, section 1.5). Where that shows no larger error, nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from exporter.errors import C3DExportError
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputSet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Outputs = dict[str, NDArray[Any]]

RUNS = 2
MIN_GROWTH = 8.0
"""How many times the baseline's error a disturbed run must have to replace it: less is the spread of any rounding."""
_FOUND: WeakKeyDictionary[GoldenOutputs, dict[int, tuple[Outputs, ...]]] = WeakKeyDictionary()


def disturbed_baseline(golden: GoldenOutputs, output: str, rows: Sequence[int]) -> NDArray[Any] | None:
    """Return the float32 baseline of some rows, with the worst of the disturbed runs where that is far worse.

    Args:
        golden: holds the reference and the baseline of the rows.
        output: the output's name.
        rows: the rows of a batch.

    Returns:
        (N, …), or None where no item's error grows by `MIN_GROWTH`.
    """
    baseline, exact = golden.float32(output, rows).copy(), golden.float64(output, rows)
    if baseline.shape != exact.shape or baseline.dtype.kind != "f" or not golden.inputs.batched:
        return None
    known, changed = _FOUND.setdefault(golden, {}), False
    for item, row in enumerate(rows):
        if row not in known:
            known[row] = _run_disturbed(golden, row)
        largest = MIN_GROWTH * _error(baseline[item], exact[item])
        for outputs in known[row]:
            values = outputs.get(output)
            if values is not None and values.shape == exact[item : item + 1].shape:
                error = _error(values[0], exact[item])
                if np.isfinite(error) and error > largest:
                    baseline[item], largest, changed = values[0], error, True
    return baseline if changed else None


def _error(values: NDArray[Any], exact: NDArray[Any]) -> float:
    return float(np.abs(values.astype(np.float64) - exact).max(initial=0))


def _run_disturbed(golden: GoldenOutputs, row: int) -> tuple[Outputs, ...]:
    """Return the baseline's outputs on a row whose numbers are moved to a neighbour, up or down at random.

    Whole numbers may be indices or levels: they are not moved below themselves, where `Floor` and `Cast` give another.
    """
    try:
        return tuple(golden.run_float32(_disturb(golden.inputs.only(row), seed)) for seed in range(RUNS))
    except C3DExportError:
        return ()


def _disturb(inputs: InputSet, seed: int) -> InputSet:
    rng = np.random.default_rng(seed)
    (feed,) = inputs.feeds
    moved = {name: _move(values, rng) if values.dtype == np.float32 else values for name, values in feed.items()}
    return replace(inputs, feeds=(moved,))


def _move(values: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    towards = np.where(rng.random(values.shape) < 0.5, -np.inf, np.inf).astype(values.dtype)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        moved = np.nextafter(values, towards)
        kept = (values == np.rint(values)) & ((values <= 0) | (moved < values))
    return np.where(np.isfinite(moved) & ~kept, moved, values)
