"""From answers and truth to a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import join_limited
from exporter.parity.compare import TOP_K, Expected, compare, top_k
from exporter.parity.execution import FULL_PRECISION, RunResult
from exporter.parity.golden import GoldenOutputs
from exporter.parity.histogram import error_histograms
from exporter.parity.inputs import InputBatch
from exporter.parity.preview import preview_frames
from exporter.parity.tolerance import Float32RelativeTolerance, Tolerance, select_tolerance
from exporter.results import Comparison, ParityReport, Precision, Ranking
from exporter.types import ParityOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Batch = tuple[InputBatch, dict[str, NDArray[Any]]]


MAX_BASELINE_ERROR = 0.01
"""A reference whose own error is a larger share of the answer is no measure: an overflow, a cancellation, a defect."""


@dataclass(frozen=True)
class SecondRun:
    """What an artifact is held against beside the truth: its name and its answers to the same batches."""

    name: str
    answers: RunResult


def evaluate(
    answers: RunResult,
    truth: GoldenOutputs,
    options: ParityOptions,
    notes: Sequence[str] = (),
    against: SecondRun | None = None,
) -> ParityReport:
    """Hold answers against the truth, and against another engine's if there is one."""
    truth.ensure(row for batch, _ in answers.batches for row in batch.rows)
    rule = select_tolerance(answers.precision, options, truth.source.reference)
    others = dict(against.answers.batches) if against else {}
    rows = [
        row
        for batch, outputs in answers.batches
        for row in compare_batch(batch, outputs, truth, rule, others.get(batch))
    ]
    other_rows: list[Comparison] = []
    reported = [*notes]
    if against is not None:
        other_rule = select_tolerance(against.answers.precision, options, truth.source.reference)
        other_rows = [
            row
            for batch, outputs in against.answers.batches
            for row in compare_batch(batch, outputs, truth, other_rule)
        ]
        if failed := [row.input for row in other_rows if not row.passed]:
            reported.append(
                f"{against.answers.runtime} itself leaves the truth on {join_limited(tuple(dict.fromkeys(failed)), 4)}"
            )
    if answers.precision not in FULL_PRECISION:
        reported.append(
            f"the weights are {answers.precision}: judged as an approximation, and without the edge cases that only "
            "float32 can be held to"
        )
    for asked in (answers, *([against.answers] if against else ())):
        if skipped := [name for name in asked.trial.unsupported_inputs if name in truth.pool.names]:
            reported.append(
                f"{asked.runtime} is not judged on {join_limited(tuple(skipped), 4)}: it is known to differ there"
            )
    placement = answers.placement
    if placement.fallback_nodes:
        reported.append(
            f"{len(placement.fallback_nodes)} of {placement.nodes} nodes ran on another device than {placement.device}: "
            f"{join_limited(placement.fallback_nodes, 4)}"
        )
    honoured = not placement.fallback_nodes or options.allow_fallback
    if isinstance(rule, Float32RelativeTolerance):
        weak = [row for row in rows if row.reference_max_error > MAX_BASELINE_ERROR * row.scale]
        sound = {row.output for row in rows if row not in weak}
        if weak:
            reported.append(
                f"{rule.reference} itself errs by more than {MAX_BASELINE_ERROR:.0%} of the answer on "
                f"{join_limited(tuple(dict.fromkeys(row.input for row in weak)), 4)}, which so prove little"
            )
        if proved_nothing := tuple(dict.fromkeys(row.output for row in rows if row.output not in sound)):
            reported.append(
                f"no input has a budget that means something for {join_limited(proved_nothing, 4)}; see --rtol"
            )
            honoured = False
    agreement = _top1_agreement(rows)
    if rule.least_top1 is not None and agreement is not None and agreement < rule.least_top1:
        reported.append(
            f"the highest class is the truth's on {agreement:.0%} of the clips; {rule.least_top1:.0%} is asked"
        )
        honoured = False
    return ParityReport(
        artifact=str(answers.trial.path),
        runtime=answers.runtime,
        placement=placement,
        truth=truth.source.title,
        reference=truth.source.reference,
        against=against.answers.runtime if against else None,
        tolerance=rule.text,
        comparisons=tuple(rows),
        against_comparisons=tuple(other_rows),
        notes=tuple(reported),
        passed=bool(rows) and honoured and all(row.passed for row in (*rows, *other_rows)),
        seconds={"truth": truth.seconds, **answers.seconds},
        top1_agreement=agreement,
        rankings=_rankings(answers, truth),
        distributions=error_histograms(answers, truth, rule),
        shown=preview_frames(truth.pool, rows),
    )


def compare_batch(
    batch: InputBatch,
    outputs: dict[str, NDArray[Any]],
    truth: GoldenOutputs,
    rule: Tolerance,
    against: dict[str, NDArray[Any]] | None = None,
) -> list[Comparison]:
    """Judge every output of one batch; its rows' truth is there."""
    return [
        compare(
            batch.name,
            output,
            values,
            Expected(
                truth.exact(output, batch.rows),
                truth.single(output, batch.rows),
                None if against is None else against.get(output),
                output not in truth.source.features,
            ),
            rule,
        )
        for output, values in outputs.items()
    ]


def first_failure(truth: GoldenOutputs, options: ParityOptions) -> Any:
    """Return a function that tells, after a batch, whether it failed: what `--fail-fast` asks."""

    def failed(arithmetic: Precision, batch: InputBatch, outputs: dict[str, NDArray[Any]]) -> bool:
        truth.ensure(batch.rows)
        rule = select_tolerance(arithmetic, options, truth.source.reference)
        return not all(row.passed for row in compare_batch(batch, outputs, truth, rule))

    return failed


def _top1_agreement(rows: Sequence[Comparison]) -> float | None:
    judged = [row.top1 for row in rows if row.top1 is not None]
    return sum(verdict != "differs" for verdict in judged) / len(judged) if judged else None


def _rankings(answers: RunResult, truth: GoldenOutputs) -> tuple[Ranking, ...]:
    """Rank the classes of every clip, by its first answer: alone, but for artifacts of a fixed batch."""
    ranked: dict[tuple[int, str], Ranking] = {}
    for batch, outputs in answers.batches:
        for output, values in outputs.items():
            if output in truth.source.features or values.ndim != 2:
                continue
            exact, single = truth.exact(output, batch.rows), truth.single(output, batch.rows)
            if exact.shape != values.shape:
                continue
            for place, row in enumerate(batch.rows):
                scores = (exact[place], single[place], values[place])
                if (row, output) not in ranked and all(np.isfinite(given).all() for given in scores):
                    name = truth.pool.names[row]
                    ranked[row, output] = Ranking(name, output, *(_five(given) for given in scores))
    return tuple(ranked.values())


def _five(scores: NDArray[Any]) -> tuple[tuple[int, float], ...]:
    return tuple((int(place), float(scores[place])) for place in top_k(scores, TOP_K))
