"""What a set of comparisons proves: an output needs an input on which a fault would have shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import join_limited
from exporter.parity.discrete import is_discrete
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputBatch
from exporter.parity.input_types import CONSTANT
from exporter.parity.own_error import OWN_FACTOR
from exporter.parity.sequences import SHAPES_SUFFIX
from exporter.parity.tolerance import ERROR_FACTOR, MIN_BASELINE_ERROR, Float32RelativeTolerance, Tolerance
from exporter.results import Comparison

BatchComparison = tuple[InputBatch, Comparison]

MAX_BASELINE_ERROR = 0.01
"""Where the float32 baseline's own error is a larger part of the output (overflow, cancellation), passing proves
little, unless the artifact itself is as near to float64 as the least budget asks."""
MIN_OWN_SNR = 20.0
"""Where the reference's own file errs so much that less than this passes, in decibels, passing proves little."""
MAX_NEAR_TIES = 0.5
"""Where more of a discrete output's elements that depend on rounded numbers are near ties, passing proves little."""

_LOOSENED = (
    (
        attrgetter("disturbed"),
        "the model magnifies rounding on {inputs}: the float32 error there is that with inputs or values moved by one "
        "rounding step, and the budget is larger for it",
    ),
    (
        attrgetter("own_error"),
        "the reference's file itself, in its own engine, errs by more than the tolerance on {inputs}: the budget there "
        f"is {OWN_FACTOR:g} times its error",
    ),
    (
        attrgetter("beyond_range"),
        "NaN and infinities are not compared on {inputs}, where the reference computes numbers beyond float32's range: "
        "passing there proves nothing",
    ),
)
"""(whether a comparison has another budget than the tolerance's, what a reader must know of it)."""
_NO_BUDGET = "no input gives a meaningful budget for {output}; give other inputs (--feed, --array) or a budget (--rtol)"


def check_evidence(
    rows: Sequence[BatchComparison], golden: GoldenOutputs, tolerance: Tolerance
) -> tuple[list[str], list[str]]:
    """Return what a reader must know about how much was proved, and the reasons why some output fails.

    Args:
        rows: every comparison with its batch.
        golden: holds the reference of every row.
        tolerance: that of the artifact.

    Returns:
        (notes, failures).
    """
    outputs = by_output(rows)
    batches = list(dict.fromkeys(batch for batch, _ in rows))
    regular = [row for row in {row for batch in batches for row in batch.rows} if golden.inputs.regular((row,))]
    constant = [name for name in outputs if _is_constant(name, regular, golden) or _is_undrawn(name, golden)]
    notes = [
        f"{output} does not depend on the input: passing proves only that it is this constant"
        for output in constant
        if not output.endswith(SHAPES_SUFFIX)
    ]
    failures = [
        f"{output} is empty on every input, because {join_unique(golden.inputs.emptied)} is: nothing is compared; "
        "give inputs that hold numbers (--shape, --feed, --array)"
        for output in outputs
        if golden.inputs.emptied and not any(golden.float64(output, batch.rows).size for batch in batches)
    ]
    notes += _discrete_notes(outputs, golden, tolerance)
    if not isinstance(tolerance, Float32RelativeTolerance):
        return notes, [*failures, *_unproved_by_own_error(outputs, constant, golden)]
    for weak, reason in (
        (
            _has_weak_baseline,
            f"{tolerance.float32_name} itself errs by more than {MAX_BASELINE_ERROR:.0%} of the output",
        ),
        (_has_many_ties, f"more than {MAX_NEAR_TIES:.0%} of the elements are near ties"),
    ):
        names = join_unique(row.input for _, row in rows if weak(row))
        notes += [f"{reason} on {names}; passing there proves little"] if names else []
    return notes, [*failures, *_unproved(outputs, constant, golden)]


def loosened_notes(rows: Sequence[Comparison]) -> Iterator[str]:
    """Yield notes that name the inputs on which more passes than the tolerance says."""
    for is_loosened, note in _LOOSENED:
        if names := join_unique(row.input for row in rows if is_loosened(row)):
            yield note.format(inputs=names)


def join_unique(names: Iterable[str]) -> str:
    """Return names, each once, joined by commas; of more than four how many more there are."""
    return join_limited(dict.fromkeys(names), 4)


def by_output(rows: Iterable[BatchComparison]) -> dict[str, list[BatchComparison]]:
    """Return {output: its comparisons}."""
    outputs: dict[str, list[BatchComparison]] = {}
    for batch, row in rows:
        outputs.setdefault(row.output, []).append((batch, row))
    return outputs


def _unproved(
    outputs: Mapping[str, Sequence[BatchComparison]], constant: Sequence[str], golden: GoldenOutputs
) -> list[str]:
    """Return a failure for each output on which no varied input gives a meaningful comparison."""
    failures: list[str] = []
    for output, own in outputs.items():
        meaningful = [batch for batch, row in own if not _is_weak(row)]
        finite = [batch for batch, _ in own if _has_numbers(output, batch, golden)]
        if not meaningful or (finite and not {*finite} & {*meaningful}):
            failures.append(_NO_BUDGET.format(output=output))
            continue
        varied = [batch for batch, _ in own if _is_varied(batch, golden)]
        shows = [batch for batch in meaningful if _shows(output, batch, golden)]
        if varied and not shows and output not in constant:
            failures.append(
                f"only constant inputs give a meaningful comparison of {output}, so nothing is proved; give inputs on "
                "which it is finite and not zero (--array, --clip), or set a tolerance with --rtol"
            )
    return failures


def _unproved_by_own_error(
    outputs: Mapping[str, Sequence[BatchComparison]], constant: Sequence[str], golden: GoldenOutputs
) -> Iterator[str]:
    """Yield a failure for each output that passes on varied inputs only because rounding is as large as it is."""
    for output, pairs in outputs.items():
        if not any(row.own_error for _, row in pairs) or output in constant:
            continue
        own = [row for batch, row in pairs if _shows(output, batch, golden)]
        if own and all((row.own_error or row.disturbed) and row.snr_db < MIN_OWN_SNR for row in own):
            yield _NO_BUDGET.format(output=output)


def _shows(output: str, batch: InputBatch, golden: GoldenOutputs) -> bool:
    return _is_varied(batch, golden) and _has_numbers(output, batch, golden, nonzero=True)


def _is_weak(row: Comparison) -> bool:
    """Return whether passing proves little."""
    return row.beyond_range or _has_weak_baseline(row) or _has_many_ties(row)


def _has_weak_baseline(row: Comparison) -> bool:
    """Return whether the baseline errs much, and the artifact more than the least budget there is."""
    least = ERROR_FACTOR * MIN_BASELINE_ERROR * row.scale
    return row.float32_max_error > MAX_BASELINE_ERROR * row.scale and not row.max_error <= least


def _has_many_ties(row: Comparison) -> bool:
    return row.equal is not None and row.equal < 1 and (row.near_ties or 0) > MAX_NEAR_TIES


def _is_varied(batch: InputBatch, golden: GoldenOutputs) -> bool:
    """Return whether an input of a batch has different, finite numbers."""
    return any(golden.inputs.names[row] not in (*CONSTANT, "nan") for row in batch.rows)


def _has_numbers(output: str, batch: InputBatch, golden: GoldenOutputs, *, nonzero: bool = False) -> bool:
    """Return whether some number of the reference is finite (and not zero); discrete and empty outputs have some."""
    values: NDArray[Any] = golden.float64(output, batch.rows)
    return is_discrete(values) or not values.size or bool((np.isfinite(values) & ((values != 0) | (not nonzero))).any())


def _is_constant(output: str, rows: Sequence[int], golden: GoldenOutputs) -> bool:
    """Return whether the reference is the same on all rows, of which several are varied, and not only NaN."""
    if sum(golden.inputs.names[row] not in CONSTANT for row in rows) < 2:
        return False
    first, *others = (golden.float64(output, (row,)) for row in rows)
    if not is_discrete(first) and first.size and not np.isfinite(first).any():
        return False
    return all(
        first.shape == other.shape and np.array_equal(first, other, equal_nan=not is_discrete(first))
        for other in others
    )


def _is_undrawn(output: str, golden: GoldenOutputs) -> bool:
    """Return whether the inputs that an output depends on are empty, or integers that are the same in every feed."""
    graph, feeds = golden.source.decisions, golden.inputs.feeds
    if graph is None:
        return False
    before = graph.inputs_before(output.removesuffix(SHAPES_SUFFIX))
    names = {item for name in before for item in golden.inputs.sequences.get(name, (name,))}
    found = [[feed[name] for feed in feeds] for name in names & {*feeds[0]}]
    return all(
        not any(array.size for array in arrays)
        or (is_discrete(arrays[0]) and len(arrays) > 1 and all(array is arrays[0] for array in arrays))
        for arrays in found
    )


def _discrete_notes(
    outputs: Mapping[str, Sequence[BatchComparison]], golden: GoldenOutputs, tolerance: Tolerance
) -> list[str]:
    """Return a note about discrete outputs that are not followed to float values, where elements were in question."""
    graph = golden.source.decisions
    names = join_unique(
        output
        for output, own in outputs.items()
        if any(row.equal is not None for _, row in own)
        and (graph is None or not graph.trace(output).decides)
        and any(row.max_error + row.float32_max_error > 0 for _, row in own)
    )
    if not names or tolerance.min_top1 is not None:
        return []
    return [f"{names}: the float values that decide are not known, so every element must equal float64's or float32's"]
