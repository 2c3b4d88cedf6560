"""Outputs that overflow in the reference as well.

The baseline of a file that does not compute in float32 is its graph in float32, evaluated node by node. Float16 has a
smaller range than that, and engines overflow in places where the evaluator does not, such as onnxruntime's
ReduceLogSumExp of large float64 numbers, or drop a NaN that float32 makes of them, such as its pools. Where the file
itself returns NaN or infinities on an input, or numbers in place of those of the baseline, an artifact of that
precision may do so too.

Where numbers that float64 computes are beyond float32's range, what float32 makes of them depends on the engine: an
infinity times a weight that is folded into it is NaN, a pool of volumes drops a NaN that a pool of images keeps, and a
channel whose scale is zero is right by chance. A max pool that drops NaN returns the number that it starts from, the
lowest of its type, for a window of NaN only. So NaN and infinities of an artifact, and that number in place of one of
the baseline, are not compared on such an item. It proves nothing then (`evidence.check_evidence`), and other numbers
must be right as ever.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.parity.claims import FULL_PRECISION
from exporter.parity.compare import Expected, compare, nonfinite_class
from exporter.parity.evidence import join_unique
from exporter.parity.execution import RunResult
from exporter.parity.golden import GoldenOutputs
from exporter.parity.own_error import own_output
from exporter.parity.sources import FileSource
from exporter.parity.tolerance import Float32RelativeTolerance, Tolerance
from exporter.results import Comparison

DISCRETE = "iubUSO"
"""The kinds of dtypes that hold neither NaN nor infinities."""


def baseline_in_own_precision(
    golden: GoldenOutputs, output: str, rows: Sequence[int], values: NDArray[Any], tolerance: Tolerance
) -> NDArray[Any]:
    """Return the float32 baseline of some rows, with what the file itself returns where NaN and infinities differ.

    The file is run only where an artifact's differ from the baseline's, and counts only where it has the artifact's. A
    float32 artifact has no excuse in a file of fewer bits, whose range is smaller.

    Args:
        golden: holds the baseline.
        output: the output's name.
        rows: the rows of a batch.
        values: (N, …), the artifact's output.
        tolerance: that of the artifact.
    """
    float32, source = golden.float32(output, rows), golden.source
    if not isinstance(source, FileSource) or source.native_float32:
        return float32
    if tolerance.min_top1 is None and source.precision != "float64":
        return float32
    if values.shape != float32.shape or {values.dtype.kind, float32.dtype.kind} & {*DISCRETE}:
        return float32
    found = nonfinite_class(values.astype(np.float64))
    differs = found != nonfinite_class(float32)
    if not differs.any():
        return float32
    own = own_output(golden, output, rows)
    if own.shape != float32.shape or own.dtype.kind in DISCRETE:
        return float32
    return np.where(differs & (found == nonfinite_class(own.astype(np.float64))), own, float32)


def compare_beyond_range(row: Comparison, values: NDArray[Any], expected: Expected, tolerance: Tolerance) -> Comparison:
    """Return a comparison that failed, made anew without NaN and infinities on items beyond float32's range.

    A max pool's start value is left out, too, where the baseline is not finite. Such an item has a number that is
    finite in float64 and larger than float32 holds, or no finite one in the float32 baseline. The tolerance of a user,
    and those below float32, are not loosened.

    Args:
        row: the comparison.
        values: (N, …), the artifact's output.
        expected: what it was compared with.
        tolerance: that of the artifact.
    """
    float64, float32 = expected.float64, expected.float32
    comparable = values.shape == float64.shape == float32.shape and expected.ties is None and values.ndim > 0
    if not comparable or values.dtype.kind != "f" or not isinstance(tolerance, Float32RelativeTolerance):
        return row
    beyond = np.isfinite(float64) & (~np.isfinite(float32) | (np.abs(float64) > np.finfo(np.float32).max))
    items = beyond.any(axis=tuple(range(1, values.ndim)), keepdims=True)
    # of either sign: a pool of negated numbers is one of minima
    start = (np.abs(values) == np.finfo(values.dtype).max) & ~np.isfinite(float32)
    left_out = items & (start | ~np.isfinite(values))
    found = compare(row.input, row.output, np.where(left_out, float32, values), expected, tolerance)
    return replace(found, beyond_range=True) if found.passed else row


def overflow_notes(result: RunResult, golden: GoldenOutputs) -> list[str]:
    """Return a note that names the inputs on which an artifact overflows that is not held to float32's range."""
    source = golden.source
    if result.precision in FULL_PRECISION and not (isinstance(source, FileSource) and source.precision == "float64"):
        return []
    where = join_unique(
        batch.name
        for batch, outputs in result.batches
        for output, values in outputs.items()
        if _overflows(values, golden.float32(output, batch.rows))
    )
    return [f"{result.precision} overflows on {where}: outputs are NaN or infinite there"] if where else []


def nonfinite_hint(result: RunResult, golden: GoldenOutputs, rows: Sequence[Comparison]) -> list[str]:
    """Return a note that names the inputs on which an artifact fails for NaN or infinities, and not for an error."""
    failed = {(row.input, row.output) for row in rows if not row.passed and math.isinf(row.max_error)}
    where = join_unique(
        batch.name
        for batch, outputs in result.batches
        for output, values in outputs.items()
        if (batch.name, output) in failed and values.shape == golden.float64(output, batch.rows).shape
    )
    return [f"NaN or infinities are elsewhere than in {golden.source.float32_name} on {where}"] if where else []


def _overflows(values: NDArray[Any], baseline: NDArray[Any]) -> bool:
    """Return whether values are NaN or infinite somewhere where the baseline, of their shape, is finite."""
    if values.shape != baseline.shape or values.dtype.kind in DISCRETE:
        return False
    return bool((~np.isfinite(values.astype(np.float64)) & np.isfinite(baseline)).any())
