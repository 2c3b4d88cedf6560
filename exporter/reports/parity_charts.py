"""The charts of a parity report, each with the table of its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.reports.charts import Series, dot_chart, step_chart
from exporter.reports.formatting import budget_percent, error
from exporter.reports.html import Row, Table
from exporter.reports.parity import discrete_cells, exceeds_budget, layer_cells
from exporter.results import Comparison, ErrorHistogram, LayerError, Localization

if TYPE_CHECKING:
    from markupsafe import Markup

MAX_ROWS = 40
"""Rows of a chart; its table has all of them."""


@dataclass(frozen=True)
class Figure:
    """A chart and its table.

    Attributes:
        output: the output that the chart is about.
        chart: None where there is nothing to draw.
        caption: what the chart shows and what it omits.
        table: every number of the chart.
        summary: a sentence to place before the chart, or nothing.
        first: the row that the summary names.
    """

    output: str
    chart: Markup | None
    caption: str
    table: Table
    summary: str = ""
    first: str | None = None


def input_figure(rows: Sequence[Comparison], name: str, baseline: str) -> Figure:
    """Draw the error of each input of one output: artifact, float32 baseline and budget.

    Errors are divided by the largest value of the output, because inputs differ by tens of orders of magnitude.

    Args:
        rows: the comparisons of the output, at least one.
        name: id of the table in the page; the chart's is `NAME-chart`.
        baseline: what the float32 baseline is called.
    """
    discrete = any(row.equal is not None for row in rows)
    drawn = sorted(sorted(rows, key=lambda row: -row.budget_used)[:MAX_ROWS], key=rows.index)
    worst = max(rows, key=lambda row: row.budget_used)
    series = (
        Series("budget", tuple(_relative(row.budget, row) for row in drawn), "limit"),
        Series(baseline, tuple(_relative(row.float32_max_error, row) for row in drawn), "reference"),
        Series("artifact", tuple(_relative(row.max_error, row) for row in drawn)),
    )
    chart = dot_chart(
        [f"{row.input} ({row.batch})" if row.batch > 1 else row.input for row in drawn],
        series,
        name=f"{name}-chart",
        axis="elements that differ / elements" if discrete else "largest error / largest value of the output",
        description=(
            f"Errors of {len(drawn)} inputs, output {worst.output}: the artifact's, those of {baseline}, the budget. "
            f"{worst.input} uses most of its budget: {budget_percent(worst.budget_used)}. The table has all numbers."
        ),
        bad=[index for index, row in enumerate(drawn) if not row.passed],
    )
    omitted = f" Only the {len(drawn)} of {len(rows)} inputs that use most of their budgets are drawn."
    caption = (
        f"Smaller errors are further left.{omitted if len(drawn) < len(rows) else ''} An arrowhead at the left is an "
        "error of zero, one at the right an infinite error. A number in parentheses is a batch size."
    )
    if discrete:
        return Figure(worst.output, chart, caption, _discrete_table(rows, name, baseline))
    compared = any(row.max_abs_diff is not None for row in rows)
    headings = (
        *("input", "batch", "result", "budget used", "max error", f"max, {baseline}", "budget"),
        *("mean error", f"mean, {baseline}", "cosine", "SNR, dB", "top-1", "top-5"),
        *(("difference",) if compared else ()),
    )
    cells = tuple(Row(_comparison_cells(row, compared=compared), not row.passed) for row in rows)
    title = f"Absolute errors of output {worst.output}"
    return Figure(worst.output, chart, caption, Table(name, title, headings, cells, (1, *range(3, 11), 13)))


def _discrete_table(rows: Sequence[Comparison], name: str, baseline: str) -> Table:
    """Return the table of an output of labels, masks, indices or strings: shares of elements."""
    headings = ("input", "batch", "result", "budget used", "equal", f"equal, {baseline}", "may differ")
    cells = tuple(Row((*_result_cells(row), *discrete_cells(row)), not row.passed) for row in rows)
    return Table(name, f"Equal elements of output {rows[0].output}", headings, cells, (1, 3, 4, 5, 6))


def _result_cells(row: Comparison) -> tuple[str, ...]:
    return row.input, str(row.batch), "pass" if row.passed else "FAIL", budget_percent(row.budget_used)


def _comparison_cells(row: Comparison, *, compared: bool) -> tuple[str, ...]:
    errors = (row.max_error, row.float32_max_error, row.budget, row.mean_error, row.float32_mean_error)
    return (
        *_result_cells(row),
        *map(error, errors),
        f"{row.cosine:.6f}",
        f"{row.snr_db:.0f}" if row.min_snr_db is None else f"{row.snr_db:.1f}, at least {row.min_snr_db:g}",
        row.top1 or "-",
        row.top5 or "-",
        *(("-" if row.max_abs_diff is None else error(row.max_abs_diff),) if compared else ()),
    )


def histogram_figure(found: ErrorHistogram, name: str, baseline: str) -> Figure:
    """Draw the histogram of all errors of an output, each divided by its budget.

    Args:
        found: the histogram.
        name: see `input_figure`.
        baseline: see `input_figure`.
    """
    totals = sum(found.artifact) + found.artifact_exact, sum(found.float32) + found.float32_exact
    heights = [
        tuple(100 * number / max(1, total) for number in _merge_outer_bins(counts))
        for counts, total in zip((found.artifact, found.float32), totals, strict=True)
    ]
    over = sum(number for number, low in zip(found.artifact, found.bin_edges, strict=False) if low >= 1)
    summary = f"{over:,} of {totals[0]:,} values exceed their budget"
    chart = step_chart(
        found.bin_edges[1:-1],
        (Series("artifact", heights[0]), Series(baseline, heights[1], "reference")),
        name=f"{name}-chart",
        axis="error / budget",
        description=f"Histogram of errors divided by their budgets, output {found.output}: {summary}.",
        line=(1.0, "budget"),
        tick=_percent,
    )
    exact = [
        100 * number / max(1, total)
        for number, total in zip((found.artifact_exact, found.float32_exact), totals, strict=True)
    ]
    nonfinite = f"; {found.nonfinite_mismatches:,} are NaN or infinite in only one of the two"
    caption = (
        f"{summary}{nonfinite if found.nonfinite_mismatches else ''}. Not drawn are the values that equal the "
        f"reference rounded to float32: {exact[0]:.1f} % of the artifact's and {exact[1]:.1f} % of {baseline}'s. The "
        "outermost bins include everything beyond them."
    )
    rows = [Row(("no error in float32", f"{found.artifact_exact:,}", f"{found.float32_exact:,}"))]
    bins = zip(found.bin_edges, found.bin_edges[1:], found.artifact, found.float32, strict=False)
    for low, high, number, reference_number in bins:
        if number or reference_number:
            rows.append(Row((_bin_title(low, high), f"{number:,}", f"{reference_number:,}"), low >= 1 and number > 0))
    if found.nonfinite_mismatches:
        rows.append(Row(("NaN or infinite in only one", f"{found.nonfinite_mismatches:,}", "-"), True))
    headings = ("budget used", "artifact", baseline)
    table = Table(name, f"Number of values of output {found.output}", headings, tuple(rows), (1, 2))
    return Figure(found.output, chart, caption, table)


def layer_figure(found: Localization, name: str, baseline: str) -> Figure:
    """Draw the errors layer by layer.

    Args:
        found: the layers that were compared.
        name: see `input_figure`.
        baseline: see `input_figure`.
    """
    layers = _drawn_layers(found)
    chart = None
    if layers:
        series = (
            Series(baseline, tuple(layer.float32_error for layer in layers), "reference"),
            Series("artifact", tuple(layer.error for layer in layers)),
        )
        chart = dot_chart(
            [layer.layer for layer in layers],
            series,
            name=f"{name}-chart",
            axis="largest error / largest value of the layer",
            description=f"Errors of {len(layers)} layers on input {found.input}: {found.summary}.",
            joined=True,
            bad=[index for index, layer in enumerate(layers) if exceeds_budget(layer)],
        )
    omitted = f" {len(layers)} of {len(found.layers)} layers are drawn; the table has all."
    caption = (
        f"From the input (top) to the output, on {found.input}. A layer without a mark of the artifact is not in its "
        f"graph.{omitted if len(layers) < len(found.layers) else ''}"
    )
    rows = tuple(Row(layer_cells(layer), exceeds_budget(layer)) for layer in found.layers)
    headings = ("layer", "artifact's value", "found by", "error", f"error, {baseline}", "budget used")
    title = f"Errors by layer on {found.input}, relative to each layer's largest value"
    summary = (
        f"On {found.input}, the artifact {found.summary}." if found.first else f"On {found.input}: {found.summary}."
    )
    return Figure("", chart, caption, Table(name, title, headings, rows, (3, 4, 5)), summary, found.first)


def _drawn_layers(found: Localization) -> tuple[LayerError, ...]:
    """Return the layers to draw: all of them, or those around the first that diverges."""
    names = [layer.layer for layer in found.layers]
    middle = names.index(found.first) if found.first in names else len(names)
    start = max(0, min(middle - MAX_ROWS // 2, len(names) - MAX_ROWS))
    return found.layers[start : start + MAX_ROWS]


def _relative(value: float, row: Comparison) -> float:
    """Return an error relative to the output's largest value."""
    if value == 0:  # even if the reference is zero too, or has no finite value
        return 0.0
    return value / row.scale if row.scale > 0 else math.inf


def _merge_outer_bins(counts: Sequence[int]) -> list[int]:
    """Add the counts outside the drawn bins to the outermost of them."""
    inner = list(counts[1:-1])
    inner[0] += counts[0]
    inner[-1] += counts[-1]
    return inner


def _percent(value: float) -> str:
    return f"{100 * value:,.10g} %"


def _bin_title(low: float, high: float) -> str:
    first, last = (_percent(float(f"{edge:.2g}")) if math.isfinite(edge) else "" for edge in (low, high))
    return f"over {first}" if math.isinf(high) else f"{first} to {last}" if low else f"up to {last}"
