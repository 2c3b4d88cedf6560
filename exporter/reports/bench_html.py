"""`bench --html`: the report as one page. What it shows is decided here, how it looks in the template."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from exporter import __version__
from exporter.bench.report import BenchReport, Bound
from exporter.errors import OutputError
from exporter.reports.bench import (
    interval,
    megabytes,
    milliseconds,
    roofline_sentences,
    threads_,
)

TEMPLATE = Path(__file__).with_name("bench.html.jinja")


@dataclass(frozen=True)
class Bar:
    """One contestant's bar: median, minimum and 90th percentile, as per cent of the chart's width; its table row."""

    name: str
    told: str
    median: float
    minimum: float
    p90: float
    peer: bool
    row: tuple[str, ...]


@dataclass(frozen=True)
class Chart:
    """A batch size and thread count: a bar for each contestant, and the place of direct convolution's bound."""

    title: str
    bars: tuple[Bar, ...]
    bound: float | None
    bound_told: str
    description: str


def check_place(path: Path) -> None:
    """Tell before the long run that the page could not be written.

    Raises:
        OutputError: there is no such folder, or file or folder do not allow writing.
    """
    if not path.parent.is_dir():
        raise OutputError(f"--html {path}: cannot be written: there is no folder {path.parent}")
    if path.is_dir():
        raise OutputError(f"--html {path}: cannot be written: it is a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"--html {path}: cannot be written: no permission")


def write_bench_html(path: Path, report: BenchReport) -> None:
    """Write the page.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        path.write_text(bench_page(report), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"--html {path}: cannot be written: {error.strerror}") from error


def bench_page(report: BenchReport, made: datetime | None = None) -> str:
    """Return the page."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        report=report,
        headline=headline(report),
        charts=charts_of(report),
        rooflines=[line for roofline in report.rooflines for line in roofline_sentences(roofline)],
        made=f"{made or datetime.now(UTC):%Y-%m-%d %H:%M %Z}".strip(),
        version=__version__,
    )


def headline(report: BenchReport) -> str:
    """Return the result of the smallest batch in a sentence."""
    if not report.measurements:
        return "Nothing was measured"
    rows = report.of(report.measurements[0].threads, report.measurements[0].batch)
    if len(rows) == 1:
        return f"{report.first} alone: {milliseconds(rows[0].median)} ms"
    fastest = min(rows, key=lambda row: row.median)
    others = [row for row in rows if row.contestant != report.first]
    if fastest.contestant != report.first:
        ratio = fastest.ratio
        return f"{fastest.contestant} takes {ratio.value:.2f} of {report.first}'s time"
    nearest = min(others, key=lambda row: row.ratio.value)
    return f"{report.first} is the fastest; {nearest.contestant} takes {nearest.ratio.value:.2f} times as long"


def charts_of(report: BenchReport) -> tuple[Chart, ...]:
    """Return a chart for each batch size and thread count."""
    return tuple(
        _chart(report, threads, batch)
        for threads, batch in dict.fromkeys((row.threads, row.batch) for row in report.measurements)
    )


def _chart(report: BenchReport, threads: int, batch: int) -> Chart:
    rows = report.of(threads, batch)
    peers = {entrant.name: entrant.peer for entrant in report.entrants}
    bound = _bound(report, threads, batch)
    widest = max([row.p90 for row in rows] + ([bound.seconds] if bound else [])) * 1.02
    bars = tuple(
        Bar(
            row.contestant,
            f"{milliseconds(row.median)} ms",
            100 * row.median / widest,
            100 * row.minimum / widest,
            100 * row.p90 / widest,
            peers[row.contestant],
            (
                *(milliseconds(value) for value in (row.median, row.p90, row.minimum)),
                f"{row.throughput:.3g}",
                f"{row.ratio.value:.2f}",
                interval(row.ratio),
                megabytes(row.memory),
                "-" if row.difference is None else f"{row.difference:.0e}",
            ),
        )
        for row in rows
    )
    told = "; ".join(f"{bar.name} {bar.told}" for bar in bars)
    return Chart(
        f"Batch {batch}, {threads_(threads)}",
        bars,
        None if bound is None else 100 * bound.seconds / widest,
        "" if bound is None else f"direct convolution at best: {milliseconds(bound.seconds)} ms",
        f"Median latency of batch {batch}: {told}",
    )


def _bound(report: BenchReport, threads: int, batch: int) -> Bound | None:
    found = (bound for roofline in report.rooflines if roofline.threads == threads for bound in roofline.bounds)
    return next((bound for bound in found if bound.batch == batch), None)
