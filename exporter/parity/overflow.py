"""Outputs that overflow in the reference's own file as well.

The baseline of a file that does not compute in float32 is its graph in float32, evaluated node by node. Float16 has a
smaller range than that, and engines overflow in places where the evaluator does not, such as onnxruntime's
ReduceLogSumExp of large float64 numbers, or drop a NaN that float32 makes of them, such as its pools. Where the file
itself returns NaN or infinities on an input, or numbers in place of those of the baseline, an artifact of that
precision may do so too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import join_limited
from exporter.parity.claims import FULL_PRECISION
from exporter.parity.compare import nonfinite_class
from exporter.parity.execution import RunResult
from exporter.parity.golden import GoldenOutputs
from exporter.parity.own_run import own_output
from exporter.parity.sources import FileSource
from exporter.parity.tolerance import Tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    if values.shape != float32.shape or values.dtype.kind in DISCRETE:
        return float32
    found = nonfinite_class(values.astype(np.float64))
    differs = found != nonfinite_class(float32)
    if not differs.any():
        return float32
    own = own_output(golden, output, rows)
    if own.shape != float32.shape or own.dtype.kind in DISCRETE:
        return float32
    return np.where(differs & (found == nonfinite_class(own.astype(np.float64))), own, float32)


def overflow_notes(result: RunResult, golden: GoldenOutputs) -> list[str]:
    """Return a note that names the inputs on which an artifact overflows that is not held to float32's range."""
    source = golden.source
    if result.precision in FULL_PRECISION and not (isinstance(source, FileSource) and source.precision == "float64"):
        return []
    names = [
        batch.name
        for batch, outputs in result.batches
        for output, values in outputs.items()
        if values.shape == golden.float32(output, batch.rows).shape
        and _overflows(values, golden.float32(output, batch.rows)).any()
    ]
    where = join_limited(tuple(dict.fromkeys(names)), 4)
    return [f"{result.precision} overflows on {where}: outputs are NaN or infinite there"] if names else []


def _overflows(values: NDArray[Any], baseline: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where values are NaN or infinite and the baseline is finite."""
    if values.dtype.kind in DISCRETE:
        return np.zeros(values.shape, bool)
    return ~np.isfinite(values.astype(np.float64)) & np.isfinite(baseline)
