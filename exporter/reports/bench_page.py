"""`bench --html`: the contents of the page; the templates decide how it looks."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from exporter.bench.types import BenchReport, LowerBound, Measurement
from exporter.reports.bench import (
    LOADING_HEADINGS,
    describe_roofline,
    format_threads,
    loading_rows,
    measurement_cells,
    measurement_headings,
    milliseconds,
)
from exporter.reports.charts import Role, Series, bar_chart
from exporter.reports.html import Row, Table, render


def bench_page(report: BenchReport, made: datetime | None = None) -> str:
    """Return the page.

    Args:
        report: what was measured.
        made: the date on the page; None for now.
    """
    context = {
        "report": report,
        "headline": headline(report),
        "failures": [skipped for skipped in report.missing if not skipped.added],
        "facts": _facts(report),
        "notes": [
            *report.notes,
            *(f"{skipped.target} was skipped: {skipped.reason}" for skipped in report.missing if skipped.added),
        ],
        "sections": [
            _section(report, *pair, f"p{number}")
            for number, pair in enumerate(
                dict.fromkeys((row.threads, row.batch) for row in report.measurements), start=1
            )
        ],
        "loading": Table(
            "loading-table",
            "Seconds, each time in a new process",
            LOADING_HEADINGS,
            tuple(Row(cells) for cells in loading_rows(report)),
            (1, 2, 3, 4),
        ),
    }
    return render("bench.html.jinja", context, made)


def headline(report: BenchReport) -> str:
    """Return the result of the smallest batch as a sentence."""
    if not report.measurements:
        return "Nothing was measured"
    rows = report.of(report.measurements[0].threads, report.measurements[0].batch)
    if len(rows) == 1:
        return f"{report.first}: {milliseconds(rows[0].median)} ms"
    fastest = min(rows, key=lambda row: row.median)
    if fastest.target != report.first:
        return f"{fastest.target} takes {fastest.ratio.value:.2f} of the time of {report.first}"
    second = min((row for row in rows if row.target != report.first), key=lambda row: row.ratio.value)
    return f"{report.first} is the fastest; {second.target} takes {second.ratio.value:.2f} times as long"


def make_series(report: BenchReport, threads: int, batch: int) -> tuple[Series, ...]:
    """Return the bars of a chart, in seconds: artifacts, other engines, and the bound of direct convolution."""
    rows = report.of(threads, batch)
    engines = {target.name for target in report.targets if target.added}
    series = [_series("artifact", "subject", rows, [row.target not in engines for row in rows])]
    if any(row.target in engines for row in rows):
        series.append(_series("other engine", "reference", rows, [row.target in engines for row in rows]))
    bound = _bound(report, threads, batch)
    if bound is not None:
        name = f"lower bound of direct convolution: {milliseconds(bound.seconds)} ms"
        series.append(Series(name, (bound.seconds,) * len(rows), "limit"))
    return tuple(series)


def _series(name: str, role: Role, rows: tuple[Measurement, ...], included: list[bool]) -> Series:
    return Series(
        name,
        tuple(row.median if here else None for row, here in zip(rows, included, strict=True)),
        role,
        tuple((row.minimum, row.p90) if here else None for row, here in zip(rows, included, strict=True)),
    )


def _section(report: BenchReport, threads: int, batch: int, name: str) -> dict[str, Any]:
    """Return the variables of the section of one batch size and thread count."""
    rows = report.of(threads, batch)
    title = f"Batch {batch}, {format_threads(threads)}"
    medians = "; ".join(f"{row.target} {milliseconds(row.median)} ms" for row in rows)
    chart = bar_chart(
        [row.target for row in rows],
        make_series(report, threads, batch),
        name=f"{name}-chart",
        axis="milliseconds per batch",
        description=f"Median latency of {title.lower()}: {medians}; the table has all numbers.",
        format_value=milliseconds,
        tick=lambda value: f"{1000 * value:g}",
    )
    caption = "The median of all calls; the thin line runs from the fastest call to the 90th percentile."
    headings = measurement_headings(report.unit)
    cells = tuple(
        Row(measurement_cells(row), row.difference is not None and math.isnan(row.difference)) for row in rows
    )
    table = Table(f"{name}-table", f"{title}: milliseconds per batch", headings, cells, tuple(range(1, len(headings))))
    return {"id": name, "title": title, "chart": chart, "caption": caption, "table": table}


def _facts(report: BenchReport) -> tuple[tuple[str, str], ...]:
    machine = "; ".join(report.environment[name] for name in ("processor", "system") if name in report.environment)
    return (
        *((target.name, f"{target.file} in {target.engine}") for target in report.targets),
        ("Inputs", report.inputs),
        ("Machine", f"{machine or 'unknown'}; device {report.device}"),
        ("Time", f"{report.seconds:.0f} s"),
        *(("Roofline", line) for roofline in report.rooflines for line in describe_roofline(roofline)),
    )


def _bound(report: BenchReport, threads: int, batch: int) -> LowerBound | None:
    bounds = (bound for roofline in report.rooflines if roofline.threads == threads for bound in roofline.bounds)
    return next((bound for bound in bounds if bound.batch == batch), None)
