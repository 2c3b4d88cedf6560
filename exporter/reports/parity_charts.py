"""The pictures of a parity report, each with the table of its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.reports.charts import Series, dot_chart, step_chart
from exporter.reports.formatting import count, error, share
from exporter.reports.html import Row, Table
from exporter.results import Comparison, ErrorHistogram, LayerError, Localization

if TYPE_CHECKING:
    from markupsafe import Markup

MOST = 40
"""Rows of a picture; a table holds them all."""


@dataclass(frozen=True)
class Figure:
    """A picture and its table.

    Attributes:
        output: of which it is.
        chart: the picture, None where there is nothing to draw.
        caption: what it shows and leaves out.
        table: every number of it.
        sentence: what it says, where a sentence stands before it.
        first: the row that the sentence names.
    """

    output: str
    chart: Markup | None
    caption: str
    table: Table
    summary: str = ""
    first: str | None = None


def input_part(rows: Sequence[Comparison], name: str, reference: str) -> Figure:
    """Draw the error of each input of one output, artifact beside reference beside budget.

    Errors are divided by the largest number of the truth, because inputs differ by tens of orders of magnitude.
    """
    drawn = sorted(sorted(rows, key=lambda row: -row.budget_used)[:MOST], key=rows.index)
    worst = max(rows, key=lambda row: row.budget_used)
    series = (
        Series("budget", tuple(_of_scale(row.budget, row) for row in drawn), "limit"),
        Series(reference, tuple(_of_scale(row.reference_max_error, row) for row in drawn), "reference"),
        Series("artifact", tuple(_of_scale(row.max_error, row) for row in drawn)),
    )
    chart = dot_chart(
        [f"{row.input} ({row.batch})" if row.batch > 1 else row.input for row in drawn],
        series,
        name=f"{name}-chart",
        axis="largest error / largest number of the truth",
        description=(
            f"Errors of {len(drawn)} inputs, output {worst.output}: the artifact's, those of {reference}, the budget. "
            f"{worst.input} uses most of its budget: {share(worst.budget_used)}. The table below holds the numbers."
        ),
        bad=[place for place, row in enumerate(drawn) if not row.passed],
    )
    left = f" The {len(drawn)} of {len(rows)} inputs that use most of their budget; the table has all." * (
        len(drawn) < len(rows)
    )
    caption = (
        f"Further left is nearer to the truth.{left} Left arrowheads are errors of zero, right ones are infinite. "
        "A number in parentheses is the size of a batch."
    )
    apart = any(row.max_abs_diff is not None for row in rows)
    headings = (
        "input",
        "batch",
        "verdict",
        "budget used",
        "max error",
        f"{reference}'s",
        "budget",
        "mean error",
        f"{reference}'s",
        "cosine",
        "SNR, dB",
        "top-1",
        "top-5",
        *(("apart",) if apart else ()),
    )
    cells = tuple(
        Row(
            (
                row.input,
                str(row.batch),
                "pass" if row.passed else "FAIL",
                share(row.budget_used),
                error(row.max_error),
                error(row.reference_max_error),
                error(row.budget),
                error(row.mean_error),
                error(row.reference_mean_error),
                f"{row.cosine:.6f}",
                f"{row.snr_db:.0f}",
                row.top1 or "-",
                row.top5 or "-",
                *(("-" if row.max_abs_diff is None else error(row.max_abs_diff),) if apart else ()),
            ),
            not row.passed,
        )
        for row in rows
    )
    title = f"Errors of output {worst.output}, absolute"
    return Figure(worst.output, chart, caption, Table(name, title, headings, cells, (1, *range(3, 11), 13)))


def histogram_part(found: ErrorHistogram, name: str, reference: str) -> Figure:
    """Draw how the errors of all numbers are distributed, as shares of their budgets."""
    edges = found.edges[1:-1]
    totals = sum(found.artifact) + found.artifact_exact, sum(found.reference) + found.reference_exact
    heights = [
        tuple(100 * number / max(1, total) for number in _folded(counts))
        for counts, total in zip((found.artifact, found.reference), totals, strict=True)
    ]
    over = sum(number for number, low in zip(found.artifact, found.edges, strict=False) if low >= 1)
    reported = f"{count(over)} of {count(totals[0])} numbers are over their budget"
    exact = [
        100 * number / max(1, total)
        for number, total in zip((found.artifact_exact, found.reference_exact), totals, strict=True)
    ]
    lost = f"; {count(found.nonfinite_mismatches)} are NaN or infinite on one side only" * (
        found.nonfinite_mismatches > 0
    )
    chart = step_chart(
        edges,
        (Series("artifact", heights[0]), Series(reference, heights[1], "reference")),
        name=f"{name}-chart",
        axis="error / budget",
        description=f"Histogram of errors as shares of their budgets, output {found.output}: {reported}.",
        line=(1.0, "budget"),
        tick=_percent,
    )
    caption = (
        f"{reported[0].upper()}{reported[1:]}{lost}. Not drawn: what is the truth to the last bit of float32, "
        f"{exact[0]:.1f} % of the artifact's and {exact[1]:.1f} % of {reference}'s. The outermost bins hold all beyond."
    )
    rows = [Row(("to the last bit", count(found.artifact_exact), count(found.reference_exact)))]
    for place, (low, high) in enumerate(zip(found.edges, found.edges[1:], strict=False)):
        numbers = found.artifact[place], found.reference[place]
        if any(numbers):
            title = (
                f"over {_fine(low)}"
                if math.isinf(high)
                else f"{_fine(low)} to {_fine(high)}"
                if low
                else f"up to {_fine(high)}"
            )
            rows.append(Row((title, *map(count, numbers)), low >= 1 and numbers[0] > 0))
    if found.nonfinite_mismatches:
        rows.append(Row(("NaN or infinite on one side", count(found.nonfinite_mismatches), "-"), True))
    table = Table(
        name, f"Numbers of output {found.output}", ("share of the budget", "artifact", reference), tuple(rows), (1, 2)
    )
    return Figure(found.output, chart, caption, table)


def layer_part(found: Localization, name: str, reference: str) -> Figure:
    """Draw the growth of error layer by layer."""
    layers = _window(found)
    chart = None
    if layers:
        series = (
            Series(reference, tuple(layer.reference_error for layer in layers), "reference"),
            Series("artifact", tuple(layer.error for layer in layers)),
        )
        chart = dot_chart(
            [layer.layer for layer in layers],
            series,
            name=f"{name}-chart",
            axis="largest error / largest value of the layer",
            description=f"Growth of error over {len(layers)} layers on input {found.input}: {found.summary}.",
            joined=True,
            bad=[
                place for place, layer in enumerate(layers) if layer.budget_used is not None and layer.budget_used > 1
            ],
        )
    left = f" {len(layers)} of {len(found.layers)} layers are drawn; the table has all." * (
        len(layers) < len(found.layers)
    )
    caption = (
        f"From the input (above) to the output, on {found.input}. Where a layer has no mark of the artifact's, "
        f"its graph does not show it.{left}"
    )
    rows = tuple(
        Row(
            (
                layer.layer,
                layer.value or "not in the graph",
                layer.matched or "-",
                "-" if layer.error is None else error(layer.error),
                error(layer.reference_error),
                "-" if layer.budget_used is None else share(layer.budget_used),
            ),
            layer.budget_used is not None and layer.budget_used > 1,
        )
        for layer in found.layers
    )
    headings = ("layer", "artifact's value", "found by", "error", f"{reference}'s", "budget used")
    table = Table(
        name, f"Errors by layer on {found.input}, relative to each layer's largest value", headings, rows, (3, 4, 5)
    )
    sentence = (
        f"On {found.input}, the artifact {found.summary}." if found.first else f"On {found.input}: {found.summary}."
    )
    return Figure("", chart, caption, table, sentence, found.first)


def _window(found: Localization) -> tuple[LayerError, ...]:
    """Return the layers to draw: all, or those around the first that leaves the truth."""
    names = [layer.layer for layer in found.layers]
    middle = names.index(found.first) if found.first in names else len(names)
    start = max(0, min(middle - MOST // 2, len(names) - MOST))
    return found.layers[start : start + MOST]


def _of_scale(value: float, row: Comparison) -> float:
    if value == 0:  # above all where the truth is zero too, or has no finite number
        return 0.0
    return value / row.scale if row.scale > 0 else math.inf


def _folded(counts: Sequence[int]) -> list[int]:
    """Add what lies outside the drawn bins to the outermost of them."""
    inner = list(counts[1:-1])
    inner[0] += counts[0]
    inner[-1] += counts[-1]
    return inner


def _percent(value: float) -> str:
    return f"{100 * value:,.10g} %"


def _fine(value: float) -> str:
    return f"{float(f'{100 * value:.2g}'):,.10g} %"
