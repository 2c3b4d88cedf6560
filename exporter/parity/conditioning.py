"""Inputs on which a model magnifies rounding so much that one run in float32 does not show float32's error.

A normalisation of equal numbers divides the rounding of their mean by the square root of epsilon. Whether there is any
depends on the order of summation, even on the address of the numbers: one run has no error, the next one thousands of
times as much as the tolerance that follows from it. So where an artifact fails, the float32 baseline is also run on
inputs that differ by a rounding step: an engine cannot be more exact than its input (backward stability, Higham,
*Accuracy and Stability of Numerical Algorithms*, section 1.5). Where that shows no larger error, every value inside an
ONNX file is moved (`engines.reference.moved_values`): what a saturated Sigmoid makes equal, no input moves. Where that
shows none either, nothing changes.

A model may also jump at an input: `Ceil` of whole numbers, a comparison with one, `ArgMax` of equal numbers. That is no
magnified rounding, because the jump stays where the step becomes smaller. So the moved run is compared with the float64
reference on inputs that are moved the same way by a millionth of the step: both have jumped, and the rest is rounding.

An artifact in float16 or bfloat16 may err as much as the baseline does on inputs moved by a step of that type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.engines.reference.moved_values import Moves, move_numbers
from exporter.errors import C3DExportError
from exporter.parity.compare import Expected, compare
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import Arrays
from exporter.parity.sources import FileSource
from exporter.parity.tolerance import Float32RelativeTolerance, SnrTolerance, Tolerance, rms
from exporter.results import Comparison, Precision, ReferencePrecision

RUNS = 3
"""Moved runs, of which the median counts: an odd number."""
MIN_GROWTH = 8.0
"""How many times the baseline's error a disturbed run must have to replace it: less is the spread of any rounding."""
TINY = 2.0**-20
"""The part of a rounding step at which a jump is still there, and magnified rounding is not."""
STEPS: dict[Precision, float] = {"float32": 1.0, "float16": 2.0**13, "bfloat16": 2.0**16}
"""{precision: its rounding step, in steps of float32}."""


def disturbed_run(
    golden: GoldenOutputs, row: int, seed: int, steps: float, precision: ReferencePrecision, *, inside: bool = False
) -> Arrays:
    """Return the outputs of a row whose numbers are moved to a neighbour, up or down at random; they are kept.

    Args:
        golden: holds the row.
        row: the row.
        seed: decides the directions.
        steps: how far they are moved, in rounding steps of float32.
        precision: what the source is run in: as the float32 baseline, or as the float64 reference.
        inside: whether the values inside the reference's file are moved, and not its inputs.

    Returns:
        {output: values}; empty where the source fails.
    """

    def run() -> Arrays:
        given, inputs = golden, golden.inputs.only(row)
        if inside:
            assert isinstance(golden.source, FileSource)
            given = replace(golden, source=golden.source.with_moves(Moves(seed, steps)))
        else:
            (feed,), rng = inputs.feeds, np.random.default_rng(seed)
            moved = {
                name: move_numbers(array, rng, steps, precision) if array.dtype == np.float32 else array
                for name, array in feed.items()
            }
            inputs = replace(inputs, feeds=(moved,))
        try:
            return given.run_once(precision, inputs)
        except C3DExportError:
            return {}

    return golden.kept(("disturbed run", row, seed, steps, precision, inside), run)


def compare_disturbed(
    golden: GoldenOutputs,
    row: Comparison,
    values: NDArray[Any],
    expected: Expected,
    tolerance: Tolerance,
    rows: Sequence[int],
) -> Comparison:
    """Return a comparison that failed, made anew where moved inputs, or else moved values, show a larger error.

    Args:
        golden: holds the reference and the baseline of the rows.
        row: the comparison.
        values: (N, …), the artifact's output.
        expected: what it was compared with.
        tolerance: that of the artifact.
        rows: the rows of the batch.
    """
    if isinstance(tolerance, SnrTolerance) and tolerance.precision in STEPS:
        disturbed = disturbed_baseline(golden, row.output, rows, tolerance.precision)
        if disturbed is None:
            return row
        noise = max(rms(moved - exact) for moved, exact in zip(disturbed, expected.float64, strict=True))
        tolerance = replace(tolerance, min_signal=noise * 10 ** (tolerance.min_snr_db / 20))
        return replace(compare(row.input, row.output, values, expected, tolerance), disturbed=True)
    if not isinstance(tolerance, Float32RelativeTolerance):
        return row
    for inside in (False, True):
        disturbed = disturbed_baseline(golden, row.output, rows, inside=inside)
        if disturbed is not None:
            found = compare(row.input, row.output, values, replace(expected, float32=disturbed), tolerance)
            row = replace(found, disturbed=True)
            if row.passed:
                break
    return row


def disturbed_baseline(
    golden: GoldenOutputs, output: str, rows: Sequence[int], precision: Precision = "float32", *, inside: bool = False
) -> NDArray[Any] | None:
    """Return the float32 baseline of some rows, with the error of a disturbed run where that is far larger.

    Args:
        golden: holds the reference and the baseline of the rows.
        output: the output's name.
        rows: the rows of a batch.
        precision: the type by whose rounding steps numbers are moved, one of `STEPS`.
        inside: move the values inside the reference's file instead of its inputs.

    Returns:
        (N, …), or None where no item's error grows by `MIN_GROWTH`, or `inside` is asked of what is no ONNX file.
    """
    if inside and not (isinstance(golden.source, FileSource) and golden.source.format == "onnx"):
        return None
    float32, exact = golden.float32(output, rows), golden.float64(output, rows)
    if float32.shape != exact.shape or float32.dtype.kind != "f" or not golden.inputs.batched:
        return None
    baseline, steps = float32.astype(np.float64), STEPS[precision]
    changed = False
    with np.errstate(invalid="ignore"):  # of infinities in both
        for item, row in enumerate(rows):
            run = partial(disturbed_run, golden, row, steps=steps, precision="float32", inside=inside)
            largest = MIN_GROWTH * _size(baseline[item] - exact[item])
            if inside and not largest < _size(_subtract(run(0), exact[item], output)):
                continue  # node by node a run takes long; one is enough for what magnifies nothing
            found = _median([_subtract(run(seed), exact[item], output) for seed in range(RUNS)])
            if largest < _size(found) < np.inf:
                limit = partial(run, steps=steps * TINY, precision="float64")
                found = _median([_subtract(run(seed), limit(seed).get(output), output) for seed in range(RUNS)])
                if largest < _size(found) < np.inf:
                    baseline[item], changed = exact[item] + found, True
    return baseline if changed else None


def _subtract(outputs: Arrays, others: NDArray[Any] | None, output: str) -> NDArray[np.float64]:
    """Return the errors of an output of one row, (…); NaN where it is not there or has another shape."""
    values = outputs.get(output)
    if values is None or others is None or values.size != others.size:
        return np.full((), np.nan)
    return values[0].astype(np.float64) - others.reshape(values.shape)[0]


def _median(errors: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the errors whose largest is the median of all; those that are not finite count as the largest."""
    return sorted(errors, key=_size)[len(errors) // 2]


def _size(errors: NDArray[np.float64]) -> float:
    size = float(np.abs(errors).max(initial=0))
    return size if np.isfinite(size) else np.inf
