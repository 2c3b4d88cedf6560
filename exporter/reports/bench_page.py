"""`bench --html`: the report as one page. What it shows is decided here, how it looks is the templates'."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from exporter.bench.types import BenchReport, LowerBound, Measurement
from exporter.reports.bench import interval, megabytes, milliseconds, roofline_sentences, threads_
from exporter.reports.charts import Series, bar_chart
from exporter.reports.html import Row, Table, render

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class Part:
    """A batch size and thread count: its picture and every number of it."""

    id: str
    title: str
    chart: Markup
    caption: str
    table: Table


def bench_page(report: BenchReport, made: datetime | None = None) -> str:
    """Return the page.

    Args:
        report: what was measured.
        made: when; now if not told.
    """
    context = {
        "report": report,
        "headline": headline(report),
        "failures": [absent for absent in report.missing if not absent.peer],
        "facts": _facts(report),
        "notes": [
            *report.notes,
            *(f"{gone.target} is missing: {gone.reason}" for gone in report.missing if gone.peer),
        ],
        "parts": parts_of(report),
        "loading": _loading(report),
    }
    return render("bench.html.jinja", context, made)


def headline(report: BenchReport) -> str:
    """Return the result of the smallest batch in a sentence."""
    if not report.measurements:
        return "Nothing was measured"
    rows = report.of(report.measurements[0].threads, report.measurements[0].batch)
    if len(rows) == 1:
        return f"{report.first} alone: {milliseconds(rows[0].median)} ms"
    fastest = min(rows, key=lambda row: row.median)
    others = [row for row in rows if row.target != report.first]
    if fastest.target != report.first:
        ratio = fastest.ratio
        return f"{fastest.target} takes {ratio.value:.2f} of {report.first}'s time"
    nearest = min(others, key=lambda row: row.ratio.value)
    return f"{report.first} is the fastest; {nearest.target} takes {nearest.ratio.value:.2f} times as long"


def parts_of(report: BenchReport) -> tuple[Part, ...]:
    """Return a part for each thread count and batch size, in the order measured."""
    pairs = dict.fromkeys((row.threads, row.batch) for row in report.measurements)
    return tuple(_part(report, threads, batch, f"p{place}") for place, (threads, batch) in enumerate(pairs, start=1))


def series_of(report: BenchReport, threads: int, batch: int) -> tuple[Series, ...]:
    """Return the bars of a picture in seconds: artifacts, other engines, and the bound of direct convolution."""
    rows = report.of(threads, batch)
    peers = {entrant.name for entrant in report.targets if entrant.peer}
    series = [_series("artifact", rows, [row.target not in peers for row in rows])]
    if any(row.target in peers for row in rows):
        among = [row.target in peers for row in rows]
        series.append(_series("other engine", rows, among))
    bound = _bound(report, threads, batch)
    if bound is not None:
        reported = f"direct convolution at best: {milliseconds(bound.seconds)} ms"
        series.append(Series(reported, (bound.seconds,) * len(rows), "limit"))
    return tuple(series)


def _series(name: str, rows: tuple[Measurement, ...], among: list[bool]) -> Series:
    return Series(
        name,
        tuple(row.median if here else None for row, here in zip(rows, among, strict=True)),
        "subject" if name == "artifact" else "reference",
        tuple((row.minimum, row.p90) if here else None for row, here in zip(rows, among, strict=True)),
    )


def _part(report: BenchReport, threads: int, batch: int, name: str) -> Part:
    rows = report.of(threads, batch)
    title = f"Batch {batch}, {threads_(threads)}"
    reported = "; ".join(f"{row.target} {milliseconds(row.median)} ms" for row in rows)
    chart = bar_chart(
        [row.target for row in rows],
        series_of(report, threads, batch),
        name=f"{name}-chart",
        axis="milliseconds a batch",
        description=f"Median latency of batch {batch} on {threads_(threads)}: {reported}; the table has all.",
        reported=milliseconds,
        tick=lambda value: f"{1000 * value:g}",
    )
    caption = "The median of all calls; the thin line runs from the fastest call to the 90th percentile."
    return Part(name, title, chart, caption, _numbers(report, rows, f"{name}-table", title))


def _numbers(report: BenchReport, rows: tuple[Measurement, ...], name: str, title: str) -> Table:
    headings = ("contestant", "median", "p90", "min", f"{report.unit}/s", "ratio", "interval", "peak MB", "differs")
    cells = tuple(
        Row(
            (
                row.target,
                *(milliseconds(value) for value in (row.median, row.p90, row.minimum)),
                f"{row.throughput:.3g}",
                f"{row.ratio.value:.2f}",
                "-" if row.target == report.first else interval(row.ratio),
                megabytes(row.memory),
                "-" if row.difference is None else f"{row.difference:.0e}",
            ),
            row.difference is not None and math.isnan(row.difference),
        )
        for row in rows
    )
    return Table(name, f"{title}: milliseconds a batch", headings, cells, tuple(range(1, len(headings))))


def _loading(report: BenchReport) -> Table:
    cells = tuple(
        Row(
            (
                row.target,
                str(row.threads),
                f"{row.load:.2f}",
                f"{row.first_answer:.2f}",
                str(len(row.loads)),
            )
        )
        for row in report.loadings
    )
    headings = ("contestant", "threads", "load", "first answer", "times")
    return Table("loading-table", "Seconds, each time in a fresh process", headings, cells, (1, 2, 3, 4))


def _facts(report: BenchReport) -> tuple[tuple[str, str], ...]:
    machine = "; ".join(report.environment[name] for name in ("processor", "system") if name in report.environment)
    rooflines = [("Roofline", line) for found in report.rooflines for line in roofline_sentences(found)]
    entrants = [(entrant.name, f"{entrant.file} in {entrant.engine}") for entrant in report.targets]
    return (
        *entrants,
        ("Inputs", report.inputs),
        ("Machine", f"{machine or 'unknown'}; device {report.device}"),
        ("Time", f"{report.seconds:.0f} s"),
        *rooflines,
    )


def _bound(report: BenchReport, threads: int, batch: int) -> LowerBound | None:
    found = (bound for roofline in report.rooflines if roofline.threads == threads for bound in roofline.bounds)
    return next((bound for bound in found if bound.batch == batch), None)
