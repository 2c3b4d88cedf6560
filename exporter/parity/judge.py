"""From answers and truth to a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import listing
from exporter.parity.compare import FEATURES, FIVE, Expected, compare, highest
from exporter.parity.distribution import distributions
from exporter.parity.inputs import InputBatch
from exporter.parity.shown import shown
from exporter.parity.tolerance import MeasuredRule, Rule, rule_for
from exporter.parity.trials import FULL, Answers
from exporter.parity.truth import Truth
from exporter.types import ParityOptions
from exporter.verdicts import Arithmetic, Comparison, ParityReport, Ranking

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Batch = tuple[InputBatch, dict[str, NDArray[Any]]]


WEAK = 0.01
"""A reference whose own error is a larger share of the answer is no measure: an overflow, a cancellation, a defect."""


@dataclass(frozen=True)
class Against:
    """What an artifact is held against beside the truth: its name and its answers to the same batches."""

    name: str
    answers: Answers


def judge(
    answers: Answers,
    truth: Truth,
    options: ParityOptions,
    notes: Sequence[str] = (),
    against: Against | None = None,
) -> ParityReport:
    """Hold answers against the truth, and against another engine's if there is one."""
    truth.ensure(row for batch, _ in answers.batches for row in batch.rows)
    rule = rule_for(answers.arithmetic, options, truth.source.reference)
    others = dict(against.answers.batches) if against else {}
    rows = [
        row
        for batch, outputs in answers.batches
        for row in compare_batch(batch, outputs, truth, rule, others.get(batch))
    ]
    other_rows: list[Comparison] = []
    told = [*notes]
    if against is not None:
        other_rule = rule_for(against.answers.arithmetic, options, truth.source.reference)
        other_rows = [
            row
            for batch, outputs in against.answers.batches
            for row in compare_batch(batch, outputs, truth, other_rule)
        ]
        if failed := [row.input for row in other_rows if not row.passed]:
            told.append(
                f"{against.answers.runtime} itself leaves the truth on {listing(tuple(dict.fromkeys(failed)), 4)}"
            )
    if answers.arithmetic not in FULL:
        told.append(
            f"the weights are {answers.arithmetic}: judged as an approximation, and without the edge cases that only "
            "float32 can be held to"
        )
    for asked in (answers, *([against.answers] if against else ())):
        if skipped := [name for name in asked.trial.skips if name in truth.pool.names]:
            told.append(f"{asked.runtime} is not judged on {listing(tuple(skipped), 4)}: it is known to differ there")
    placement = answers.placement
    if placement.elsewhere:
        told.append(
            f"{len(placement.elsewhere)} of {placement.nodes} nodes ran on another device than {placement.device}: "
            f"{listing(placement.elsewhere, 4)}"
        )
    honoured = not placement.elsewhere or options.allow_fallback
    if isinstance(rule, MeasuredRule):
        weak = [row for row in rows if row.reference_max_error > WEAK * row.scale]
        sound = {row.output for row in rows if row not in weak}
        if weak:
            told.append(
                f"{rule.reference} itself errs by more than {WEAK:.0%} of the answer on "
                f"{listing(tuple(dict.fromkeys(row.input for row in weak)), 4)}, which so prove little"
            )
        if proved_nothing := tuple(dict.fromkeys(row.output for row in rows if row.output not in sound)):
            told.append(f"no input has a budget that means something for {listing(proved_nothing, 4)}; see --rtol")
            honoured = False
    agreement = _top1_agreement(rows)
    if rule.least_top1 is not None and agreement is not None and agreement < rule.least_top1:
        told.append(f"the highest class is the truth's on {agreement:.0%} of the clips; {rule.least_top1:.0%} is asked")
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
        notes=tuple(told),
        passed=bool(rows) and honoured and all(row.passed for row in (*rows, *other_rows)),
        seconds={"truth": truth.seconds, **answers.seconds},
        top1_agreement=agreement,
        rankings=_rankings(answers, truth),
        distributions=distributions(answers, truth, rule),
        shown=shown(truth.pool, rows),
    )


def compare_batch(
    batch: InputBatch,
    outputs: "dict[str, NDArray[Any]]",
    truth: Truth,
    rule: Rule,
    against: "dict[str, NDArray[Any]] | None" = None,
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
            ),
            rule,
        )
        for output, values in outputs.items()
    ]


def first_failure(truth: Truth, options: ParityOptions) -> "Any":
    """Return a function that tells, after a batch, whether it failed: what `--fail-fast` asks."""

    def failed(arithmetic: Arithmetic, batch: InputBatch, outputs: "dict[str, NDArray[Any]]") -> bool:
        truth.ensure(batch.rows)
        rule = rule_for(arithmetic, options, truth.source.reference)
        return not all(row.passed for row in compare_batch(batch, outputs, truth, rule))

    return failed


def _top1_agreement(rows: Sequence[Comparison]) -> float | None:
    judged = [row.top1 for row in rows if row.top1 is not None]
    return sum(verdict != "differs" for verdict in judged) / len(judged) if judged else None


def _rankings(answers: Answers, truth: Truth) -> tuple[Ranking, ...]:
    """Rank the classes of every clip, by its first answer: alone, but for artifacts of a fixed batch."""
    ranked: dict[tuple[int, str], Ranking] = {}
    for batch, outputs in answers.batches:
        for output, values in outputs.items():
            if output in FEATURES or values.ndim != 2:  # noqa: PLR2004 - (N, classes)
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


def _five(scores: "NDArray[Any]") -> tuple[tuple[int, float], ...]:
    return tuple((int(place), float(scores[place])) for place in highest(scores, FIVE))
