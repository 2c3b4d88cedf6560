"""A benchmark: a table for each batch size and thread count, load times, the roofline, and what was skipped."""

from dataclasses import asdict
from typing import Any

from rich.console import Console

from exporter.bench.statistics import CONFIDENCE
from exporter.bench.types import BenchReport, Measurement, Ratio, Roofline
from exporter.reports.console import print_field, print_notes, print_rows, print_text

GIGA, MEGA = 1e9, 1e6


def print_bench(report: BenchReport, console: Console) -> None:
    """Print the report."""
    for target in report.targets:
        print_field("target", f"{target.name}: {target.file} in {target.engine}", console)
    print_field("inputs", report.inputs, console)
    print_field("machine", report.environment.get("processor", "unknown"), console)
    for threads, batch in dict.fromkeys((row.threads, row.batch) for row in report.measurements):
        rows = report.of(threads, batch)
        rounds = sorted({row.rounds for row in rows})
        device = "" if report.device == "cpu" else f" on {report.device}"
        console.print()
        print_text(
            f"batch {batch}, {format_threads(threads)}{device}: milliseconds per batch, "
            f"{' to '.join(map(str, rounds))} interleaved rounds",
            console,
        )
        print_rows(measurement_headings(report.unit), (25,), map(measurement_cells, rows), console)
    console.print()
    print_rows(("seconds, new processes", *LOADING_HEADINGS[1:]), (25,), loading_rows(report), console)
    console.print()
    for roofline in report.rooflines:
        for line in describe_roofline(roofline):
            print_field("roofline", line, console)
    for skipped in report.missing:
        word = "skipped" if skipped.added else "FAILED"
        print_field(word, f"{skipped.target}: {skipped.reason}", console)
    print_notes(report.notes, console)
    ratio = f"time relative to {report.first}: the median over rounds, with its sign-test interval"
    print_field("ratio", ratio, console)
    print_field("took", f"{report.seconds:.0f} s; docs/explanation/bench.md explains the columns", console)


def describe_roofline(roofline: Roofline) -> list[str]:
    """Return how fast matrix products are on this machine, and the lower bound that follows for each batch size."""
    rate = f"{roofline.rate / GIGA:.0f} GFLOP/s ({roofline.product}) on {format_threads(roofline.threads)}"
    if roofline.counted is None:
        return [
            f"matrix products reach {rate}; there is no unoptimized graph to count multiply-adds in: add --engines or "
            "--engine-model"
        ]
    lines = [f"matrix products reach {rate}"]
    for bound in roofline.bounds:
        lines.append(
            f"direct convolution of batch {bound.batch} takes at least {milliseconds(bound.seconds)} ms: "
            f"{format_count(bound.multiply_adds)} multiply-adds ({roofline.counted})"
        )
    if roofline.uncounted:
        lines.append(
            f"{len(roofline.uncounted)} nodes of unknown shape were not counted: {', '.join(roofline.uncounted[:3])}"
        )
    return lines


def format_threads(count: int) -> str:
    """Return `1 thread`, `2 threads`."""
    return f"{count} thread{'s' * (count != 1)}"


def format_count(count: int) -> str:
    """Return a count for people: 38.5 G, 1.33 M, 1,024."""
    return f"{count / GIGA:.3g} G" if count >= GIGA else f"{count / MEGA:.3g} M" if count >= MEGA else f"{count:,}"


def milliseconds(seconds: float) -> str:
    """Return milliseconds to at most four digits: 231.4, 12.35, 0.0153."""
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}" if value >= 100 else f"{value:.3g}"


def format_interval(ratio: Ratio) -> str:
    """Return `2.05 to 2.14`, with its confidence if there were too few rounds for the usual one."""
    interval = f"{ratio.low:.2f} to {ratio.high:.2f}"
    return interval if ratio.confidence >= CONFIDENCE else f"{interval} ({ratio.confidence:.0%})"


def measurement_cells(row: Measurement) -> tuple[str, ...]:
    """Return the cells of a measurement, in the order of `measurement_headings`."""
    first = row.difference is None and row.ratio.low == row.ratio.high == 1
    return (
        row.target,
        *(milliseconds(value) for value in (row.median, row.p90, row.minimum)),
        f"{row.throughput:.3g}",
        "1" if first else f"{row.ratio.value:.2f}",
        "" if first else format_interval(row.ratio),
        "-" if row.memory is None else f"{row.memory / MEGA:,.0f}",
        "" if first else "-" if row.difference is None else f"{row.difference:.0e}",
    )


def measurement_headings(unit: str) -> tuple[str, ...]:
    """Return the headings of a table of measurements."""
    interval = f"{CONFIDENCE:.0%} interval"
    return ("target", "median", "p90", "min", f"{unit}/s", "ratio", interval, "peak MB", "diff")


LOADING_HEADINGS = ("target", "threads", "load", "first output", "processes")


def loading_rows(report: BenchReport) -> tuple[tuple[str, ...], ...]:
    """Return the rows of the table of load times, in seconds."""
    return tuple(
        (row.target, str(row.threads), f"{row.load:.2f}", f"{row.first_output:.2f}", str(len(row.loads)))
        for row in report.loadings
    )


def bench_to_dict(report: BenchReport) -> dict[str, Any]:
    """Return everything that `bench` measured; times are in seconds, memory is in bytes."""
    return {"complete": report.complete, **asdict(report)}
