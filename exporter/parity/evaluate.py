"""From outputs, reference and tolerance to a report. Nothing is run or computed in float64 here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from exporter.parity.claims import FULL_PRECISION
from exporter.parity.compare import Expected, compare
from exporter.parity.conditioning import compare_disturbed
from exporter.parity.evidence import by_output, check_evidence, join_unique, loosened_notes
from exporter.parity.execution import RunResult, RunSpec, StopCondition
from exporter.parity.feeds import is_printed, parse_outputs
from exporter.parity.golden import GoldenOutputs
from exporter.parity.held_out import accuracy_failures, bound_notes, make_tolerances, measure_held_out
from exporter.parity.input_set import Arrays, InputBatch
from exporter.parity.near_ties import find_near_ties
from exporter.parity.overflow import (
    baseline_in_own_precision,
    compare_beyond_range,
    nonfinite_hint,
    overflow_notes,
)
from exporter.parity.own_error import compare_with_own_error, required_share
from exporter.parity.pairing import find_pairing
from exporter.parity.report_details import error_histograms, preview_frames, rank_classes
from exporter.parity.row_tolerances import Tolerances
from exporter.parity.sources import FileSource
from exporter.parity.tolerance import Tolerance
from exporter.results import Comparison, ParityReport, Precision
from exporter.types import ParityOptions


def evaluate(
    result: RunResult,
    golden: GoldenOutputs,
    options: ParityOptions,
    notes: Sequence[str] = (),
    against: RunResult | None = None,
) -> ParityReport:
    """Compare an artifact's outputs with the reference, and with a second engine's if there is one.

    Args:
        result: the artifact's outputs.
        golden: holds the reference of every row in `result`.
        options: the tolerance, and whether nodes may run on another device.
        notes: the first notes of the report.
        against: the second engine's outputs on the same batches.

    Raises:
        UsageError: see `select_tolerance`.
    """
    result, against = _parse(result, golden), against and _parse(against, golden)
    tolerances = _tolerances(result, golden, options)
    tolerance = tolerances.regular
    pairs = _compare_all(result, golden, tolerances, against)
    rows = [row for _, row in pairs]
    against_pairs = [] if against is None else _compare_all(against, golden, _tolerances(against, golden, options))
    against_rows = [row for _, row in against_pairs]
    agreement = _top1_agreement([row for batch, row in pairs if tolerances.uncalibrated.isdisjoint(batch.rows)])
    weak, failures = check_evidence(pairs, golden, tolerance)
    accuracy = measure_held_out(result, golden, tolerances, pairs)
    failures += [
        *_check_top1(agreement, tolerance),
        *_check_equal(pairs, golden, tolerance),
        *accuracy_failures(accuracy),
    ]
    weak += bound_notes(accuracy, result.spec)
    weak += loosened_notes((*rows, *against_rows))
    hints = [*nonfinite_hint(result, golden, rows), *_pairing_hint(result, golden, tolerances, rows)]
    hints += _batch_size_hint(rows)
    on_device = not result.placement.fallback_nodes or options.allow_fallback
    return ParityReport(
        artifact=str(result.spec.path),
        engine=result.engine,
        placement=result.placement,
        float64_name=golden.source.float64_name,
        float32_name=golden.source.float32_name,
        against=against.engine if against else None,
        tolerance=_describe(tolerances, rows),
        comparisons=tuple(rows),
        against_comparisons=tuple(against_rows),
        notes=(*notes, *golden.notes, *_run_notes(result, golden, against, against_rows), *weak, *failures, *hints),
        passed=bool(rows) and on_device and not failures and all(row.passed for row in (*rows, *against_rows)),
        seconds={"reference": golden.seconds, **result.seconds},
        top1_agreement=agreement,
        rankings=rank_classes(result, golden),
        histograms=error_histograms(result, golden, tolerances),
        previews=preview_frames(golden.inputs, rows),
        held_out=accuracy,
    )


def _parse(result: RunResult, golden: GoldenOutputs) -> RunResult:
    """Return what a model returned, with the text of floating-point numbers as float64."""
    batches = tuple((batch, parse_outputs(outputs, golden.source)) for batch, outputs in result.batches)
    return replace(result, batches=batches)


def _compare_all(
    result: RunResult, golden: GoldenOutputs, tolerances: Tolerances, against: RunResult | None = None
) -> list[tuple[InputBatch, Comparison]]:
    """Compare every output of every batch; see `compare_batch`."""
    others = dict(against.batches) if against else {}
    return [
        (batch, row)
        for batch, outputs in result.batches
        for row in compare_batch(batch, outputs, golden, tolerances, others.get(batch))
    ]


def compare_batch(
    batch: InputBatch,
    outputs: Arrays,
    golden: GoldenOutputs,
    tolerances: Tolerances,
    against: Arrays | None = None,
) -> list[Comparison]:
    """Compare every output of one batch; `golden` holds the reference of its rows."""
    found: list[Comparison] = []
    for output, values in outputs.items():
        tolerance = tolerances.of(batch.rows, output)
        expected = Expected(
            golden.float64(output, batch.rows),
            baseline_in_own_precision(golden, output, batch.rows, values, tolerance),
            None if against is None else against.get(output),
            output not in golden.source.features,
            find_near_ties(golden, output, batch.rows, tolerance),
        )
        row = compare(batch.name, output, values, expected, tolerance)
        if not row.passed and math.isfinite(row.max_error):
            row = compare_disturbed(golden, row, values, expected, tolerance, batch.rows)
            if not row.passed and tolerance is not tolerances.held_out:
                row = compare_with_own_error(golden, row, values, expected, tolerance, batch.rows)
        elif not row.passed:
            row = compare_beyond_range(row, values, expected, tolerance)
        found.append(row)
    return found


def _pairing_hint(
    result: RunResult, golden: GoldenOutputs, tolerances: Tolerances, rows: Sequence[Comparison]
) -> list[str]:
    """Return a note where the outputs fail as they are paired, and agree when paired otherwise."""
    if all(row.passed for row in rows) or not isinstance(golden.source, FileSource):
        return []

    def agrees(batch: InputBatch, output: str, values: NDArray[Any]) -> bool:
        return all(row.passed for row in compare_batch(batch, {output: values}, golden, tolerances))

    found = find_pairing(result.batches, list(result.mapping.outputs.values()), agrees)
    if found is None:
        return []
    own = {reference: name for name, reference in result.mapping.outputs.items()}
    pairs = " ".join(f"--map {theirs}={own[ours]}" for theirs, ours in found.items())
    return [f"the outputs agree when they are paired otherwise: {pairs}"]


def _batch_size_hint(rows: Sequence[Comparison]) -> Iterator[str]:
    """Yield a note where small batches pass and only larger ones fail."""
    failed = {row.batch for row in rows if not row.passed}
    passed = {row.batch for row in rows if row.passed}
    if failed and passed and max(passed) < min(failed):
        yield (
            f"batches of up to {max(passed)} pass and larger ones fail: the graph depends on the batch size, or a "
            "library takes a less accurate algorithm for large batches; --batch N compares another size"
        )


def _tolerances(result: RunResult, golden: GoldenOutputs, options: ParityOptions) -> Tolerances:
    return replace(make_tolerances(result.spec, result.precision, golden, options), rounding=result.rounding)


def stop_at_failure(golden: GoldenOutputs, options: ParityOptions, spec: RunSpec) -> StopCondition:
    """Return a stop condition for `run_model` that is true after the first batch that fails (`--fail-fast`)."""

    def failed(precision: Precision, batch: InputBatch, outputs: Arrays) -> bool:
        golden.compute(batch.rows)
        tolerances = make_tolerances(spec.held_to(precision), precision, golden, options)
        outputs = parse_outputs(outputs, golden.source)
        return not all(row.passed for row in compare_batch(batch, outputs, golden, tolerances))

    return failed


def _run_notes(
    result: RunResult, golden: GoldenOutputs, against: RunResult | None, against_rows: Sequence[Comparison]
) -> Iterator[str]:
    """Yield what a reader must know about how the artifact and the second engine ran."""
    yield from dict.fromkeys((*result.notes, *(against.notes if against is not None else ())))
    if against is not None and (failed := [row.input for row in against_rows if not row.passed]):
        yield f"{against.engine} itself exceeds its budget on {join_unique(failed)}"
    if result.precision not in FULL_PRECISION:
        yield (
            f"compared as {result.precision}, which is an approximation, and without the edge cases, which need full "
            "float32"
        )
    for run in (result, *([against] if against else ())):
        if skipped := [name for name in run.spec.unsupported_inputs if name in golden.inputs.names]:
            yield f"{run.engine} is not run on {join_unique(skipped)}: it is known to differ there"
    if result.left_out:
        reason = next(iter(result.left_out.values()))
        yield f"fails on {join_unique([*result.left_out])}, as the reference does; not compared there: {reason}"
    if printed := [name for name in result.mapping.outputs.values() if is_printed(name, golden.source)]:
        yield f"{join_unique(printed)}: text of floating-point numbers, which is compared as numbers"
    yield from overflow_notes(result, golden)
    placement = result.placement
    if placement.fallback_nodes:
        yield (
            f"{len(placement.fallback_nodes)} of {placement.nodes} nodes did not run on {placement.device}: "
            f"{join_unique(placement.fallback_nodes)}"
        )


def _check_top1(agreement: float | None, tolerance: Tolerance) -> list[str]:
    if tolerance.min_top1 is None or agreement is None or agreement >= tolerance.min_top1:
        return []
    return [f"the highest class agrees on {agreement:.0%} of the inputs; at least {tolerance.min_top1:.0%} must agree"]


def _check_equal(
    pairs: Sequence[tuple[InputBatch, Comparison]], golden: GoldenOutputs, tolerance: Tolerance
) -> Iterator[str]:
    """Yield what fails below float32: discrete outputs with too few equal elements over all inputs."""
    if (least := tolerance.min_top1) is None:
        return
    for output, found in by_output(pair for pair in pairs if pair[1].equal is not None).items():
        mean = sum(row.equal or 0.0 for _, row in found) / len(found)
        if mean < least and mean < (required := required_share(golden, found, tolerance)):
            yield f"{mean:.2%} of the elements of {output} are equal; at least {required:.0%} must be"


def _describe(tolerances: Tolerances, rows: Sequence[Comparison]) -> str:
    """Return the tolerance in words, with that of discrete outputs where there are some."""
    description, least = tolerances.description, tolerances.regular.min_top1
    if all(row.equal is None for row in rows):
        return description
    if least is not None:
        return f"{description}; discrete outputs: at least {least:.0%} of the elements equal"
    return f"{description}; discrete outputs equal, except where that error decides (near ties)"


def _top1_agreement(rows: Sequence[Comparison]) -> float | None:
    ranked = [row.top1 for row in rows if row.top1 is not None]
    return sum(agreement != "differs" for agreement in ranked) / len(ranked) if ranked else None
