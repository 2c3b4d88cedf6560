"""The reference's file itself, in its own engine and its own precision: what a correct artifact of it may do too.

An artifact may overflow where the file does (`exporter.parity.overflow`), fail where it fails, and err as it does where
it is in another type than float32 and errs by more than is allowed.

The limits of signal to noise are for networks whose rounding averages out. A file may do worse than them on some input:
it subtracts equal numbers, divides rounding by the root of epsilon, or multiplies numbers until they underflow. The
baseline does not show that, because it is the file's graph in float32 (`FileSource`). So where an artifact of the same
precision fails, the file is run by itself, and the artifact may make `OWN_FACTOR` times its error: what float32
artifacts are held to, too. The artifact has to pass elsewhere, on an input on which the file is accurate
(`evidence.check_evidence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.engines import find_engine
from exporter.engines.base import RuntimeOptions
from exporter.errors import C3DExportError, CheckFailedError
from exporter.parity.compare import Expected, compare
from exporter.parity.feeds import as_rows, run_rows
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import Arrays, InputBatch, InputSet
from exporter.parity.sources import FileSource
from exporter.parity.tolerance import (
    MAX_PEAK,
    Float32RelativeTolerance,
    SnrTolerance,
    StoredWeightsTolerance,
    Tolerance,
    rms,
)
from exporter.results import Comparison

OWN_FACTOR = 2.0
"""The error that passes, as a multiple of the file's own: another order of the same operations rounds otherwise."""
MIN_SHARE = 0.5
"""The share of a discrete output's elements that must be equal, however many the file itself decides otherwise."""


def compare_with_own_error(
    golden: GoldenOutputs,
    row: Comparison,
    values: NDArray[Any],
    expected: Expected,
    tolerance: Tolerance,
    rows: Sequence[int],
) -> Comparison:
    """Return a comparison that failed, made anew where the reference's own file errs by more than the tolerance.

    It is the same where the file computes in float32, in another precision than the artifact, or fails.

    Args:
        golden: holds the reference.
        row: the comparison.
        values: (N, …), the artifact's output.
        expected: what it was compared with.
        tolerance: that of the artifact.
        rows: the rows of the batch.
    """
    source = golden.source
    if not isinstance(source, FileSource) or source.native_float32 or not _is_same_precision(tolerance, source):
        return row
    try:
        own = own_output(golden, row.output, rows)
    except C3DExportError:
        return row
    if own.shape != expected.float64.shape or own.dtype.kind != "f" or not own.size:
        return row
    with np.errstate(invalid="ignore"):  # infinities of both
        errors = own.astype(np.float64) - expected.float64
    sizes = [_size(item[np.isfinite(item)]) for item in errors]
    if isinstance(tolerance, SnrTolerance):
        tolerance = replace(tolerance, item_signals=least_signals(tolerance, sizes))
    else:  # the file computes in float32 or finer, so that its outputs are a baseline
        expected = replace(expected, float32=np.where(np.isfinite(errors), own, expected.float32))
    if isinstance(tolerance, StoredWeightsTolerance):
        least = max(least_signals(tolerance.limit, sizes))
        tolerance = replace(tolerance, limit=replace(tolerance.limit, min_signal=least))
    found = compare(row.input, row.output, values, expected, tolerance)
    return replace(found, own_error=True) if found.passed else row


def least_signals(tolerance: SnrTolerance, errors: Sequence[float]) -> tuple[float, ...]:
    """Return the signal of each item that counts at least, so that a multiple of its error passes."""
    ratio = 10 ** (tolerance.min_snr_db / 20)
    return tuple(max(tolerance.min_signal, OWN_FACTOR * error * ratio) for error in errors)


def _size(errors: NDArray[np.float64]) -> float:
    """Return the root mean square of errors, or the part of the largest that a peak may be of that."""
    return max(rms(errors), float(np.abs(errors).max()) / MAX_PEAK) if errors.size else 0.0


def _is_same_precision(tolerance: Tolerance, source: FileSource) -> bool:
    """Return whether a tolerance is for the precision of a file; that of a float64 file is relative to float32."""
    if isinstance(tolerance, StoredWeightsTolerance):
        return tolerance.limit.precision == source.precision
    if isinstance(tolerance, SnrTolerance):
        return tolerance.min_snr_db > 0 and tolerance.precision == source.precision
    return isinstance(tolerance, Float32RelativeTolerance) and source.precision == "float64"


def required_share(golden: GoldenOutputs, rows: Sequence[tuple[InputBatch, Comparison]], tolerance: Tolerance) -> float:
    """Return the share of a discrete output's elements that must be equal, on average over its comparisons.

    It is the tolerance's, or less where the reference's own file decides otherwise than float64 as often.

    Args:
        golden: holds the reference.
        rows: the comparisons of the output, at least one, with their batches.
        tolerance: that of the artifact, with a share.
    """
    least, source = tolerance.min_top1 or 0.0, golden.source
    if not isinstance(source, FileSource) or source.native_float32 or not _is_same_precision(tolerance, source):
        return least
    try:
        shares = [_equal_share(golden, row.output, batch.rows) for batch, row in rows]
    except C3DExportError:
        return least
    return min(least, max(MIN_SHARE, 1 - OWN_FACTOR * (1 - sum(shares) / len(shares))))


def _equal_share(golden: GoldenOutputs, output: str, rows: Sequence[int]) -> float:
    own, exact = own_output(golden, output, rows), golden.float64(output, rows)
    return float(np.mean(own == exact)) if own.shape == exact.shape and own.size else 1.0


def own_output(golden: GoldenOutputs, output: str, rows: Sequence[int]) -> NDArray[Any]:
    """Return an output of the reference's own file on some rows, shaped as the reference is; runs of a batch are kept.

    Args:
        golden: its source is a file.
        output: the output's name.
        rows: the rows of a batch.

    Raises:
        CheckFailedError: the file fails on them.
    """
    source = golden.source
    assert isinstance(source, FileSource)

    def run() -> Arrays:
        return as_rows(run_own(source, golden.inputs, rows), batched=golden.inputs.batched)

    own = golden.kept(("own run", *rows), run)[output]
    return own[: len(rows)] if golden.inputs.batched else own


def run_own(source: FileSource, inputs: InputSet, rows: Sequence[int]) -> Arrays:
    """Return the outputs of a batch of the file itself, as the engine returns them; the last row fills a fixed batch.

    Raises:
        CheckFailedError: it fails on them.
    """
    options = RuntimeOptions(signature=source.signature, vouched=source.vouched)
    with find_engine(source.format).open(source.path, options) as runtime:
        missing = (runtime.signature.batch or 0) - len(rows) if inputs.batched else 0
        return run_rows(runtime, inputs, (*rows, *(rows[-1],) * missing))


def fails_itself(source: FileSource, inputs: InputSet, rows: Sequence[int]) -> bool:
    """Return whether the file itself fails on a batch."""
    try:
        run_own(source, inputs, rows)
    except CheckFailedError:
        return True
    return False
