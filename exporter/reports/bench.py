"""A benchmark for people: a table for each batch size and thread count, loading, the roofline, and who was missing."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from exporter.bench.statistics import CONFIDENCE
from exporter.bench.types import BenchReport, Measurement, Ratio, Roofline

GIGA, MEGA = 1e9, 1e6


def print_bench(report: BenchReport, console: Console) -> None:
    """Print the report."""
    for entrant in report.targets:
        console.print(f"measured {escape(entrant.name)}: {escape(entrant.file)} in {escape(entrant.engine)}")
    console.print(f"inputs   {escape(report.inputs)}")
    console.print(f"machine  {escape(report.environment.get('processor', 'unknown'))}")
    for threads, batch in dict.fromkeys((row.threads, row.batch) for row in report.measurements):
        rows = report.of(threads, batch)
        console.print()
        rounds = sorted({row.rounds for row in rows})
        on = "" if report.device == "cpu" else f" on {report.device}"
        console.print(
            f"batch {batch}, {threads_(threads)}{on}: {' to '.join(map(str, rounds))} rounds in turns, "
            "milliseconds a batch"
        )
        console.print(_latencies(rows, report.unit))
    console.print()
    console.print(_loading(report))
    console.print()
    for roofline in report.rooflines:
        for line in roofline_sentences(roofline):
            console.print(f"roofline {escape(line)}")
    for absent in report.missing:
        console.print(f"{'missing ' if absent.peer else 'FAILED  '} {escape(absent.target)}: {escape(absent.reason)}")
    for note in report.notes:
        console.print(f"note     {escape(note)}")
    console.print(
        f"ratio    time relative to {escape(report.first)}, median of the rounds' ratios (sign-test interval)"
    )
    console.print(f"took     {report.seconds:.0f} s; docs/benchmarks.md says how to read this")


def roofline_sentences(roofline: Roofline) -> list[str]:
    """Say what the machine's matrix products allow, a sentence for each batch size."""
    rate = f"{roofline.rate / GIGA:.0f} GFLOP/s ({roofline.product}) on {threads_(roofline.threads)}"
    if roofline.counted is None:
        return [
            f"matrix products reach {rate}; no plain graph among the artifacts to count, --engines or --engine-model gives one"
        ]
    reported = [f"matrix products reach {rate}"]
    for bound in roofline.bounds:
        reported.append(
            f"direct convolution of batch {bound.batch} takes at least {milliseconds(bound.seconds)} ms: "
            f"{amount(bound.multiply_adds)} multiply-adds ({roofline.counted})"
        )
    if roofline.uncounted:
        reported.append(
            f"{len(roofline.uncounted)} nodes not counted, for want of sizes: {', '.join(roofline.uncounted[:3])}"
        )
    return reported


def threads_(count: int) -> str:
    """Return `2 threads`."""
    return f"{count} thread{'s' * (count != 1)}"


def amount(count: int) -> str:
    """Return a count for people: 38.5 G, 1.33 M, 1,024."""
    return f"{count / GIGA:.3g} G" if count >= GIGA else f"{count / MEGA:.3g} M" if count >= MEGA else f"{count:,}"


def milliseconds(seconds: float) -> str:
    """Return milliseconds to four digits at most, and no more than a clock gives: 231.4, 12.35, 0.0153."""
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}" if value >= 100 else f"{value:.3g}"


def interval(ratio: Ratio) -> str:
    """Return `2.05 to 2.14`, with its confidence where that is less than it should be."""
    reported = f"{ratio.low:.2f} to {ratio.high:.2f}"
    return reported if ratio.confidence >= CONFIDENCE else f"{reported} ({ratio.confidence:.0%})"


def megabytes(count: int | None) -> str:
    """Return bytes in MB (10^6), `-` where not known."""
    return "-" if count is None else f"{count / MEGA:,.0f}"


def _latencies(rows: Iterable[Measurement], unit: str) -> Table:
    headings = ("median", "p90", "min", f"{unit}/s", "ratio", f"{CONFIDENCE:.0%} interval", "peak MB", "differs")
    table = _table(("", *headings))
    for row in rows:
        alone = row.difference is None and row.ratio.low == row.ratio.high == 1
        table.add_row(
            escape(row.target),
            *(milliseconds(value) for value in (row.median, row.p90, row.minimum)),
            f"{row.throughput:.3g}",
            "1" if alone else f"{row.ratio.value:.2f}",
            "" if alone else interval(row.ratio),
            megabytes(row.memory),
            "" if alone else "-" if row.difference is None else f"{row.difference:.0e}",
        )
    return table


def _loading(report: BenchReport) -> Table:
    table = _table(("seconds, fresh processes", "threads", "load", "first answer", "times"))
    for row in report.loadings:
        table.add_row(
            escape(row.target), str(row.threads), f"{row.load:.2f}", f"{row.first_answer:.2f}", str(len(row.loads))
        )
    return table


def _table(headings: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(headings[0], max_width=25, overflow="fold")
    for heading in headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
