"""`bench --all`: one table of all ways to export a network, what is missing, and the command of the recommended one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from exporter.bench.deployment.types import DeploymentRow, DeploymentTable
from exporter.reports.bench import MEGA, format_threads, milliseconds
from exporter.reports.console import describe_phases, print_field, print_notes, print_rows, print_text
from exporter.reports.formatting import format_column
from models.errors import count

NAME_WIDTH = 30
PARETO, RECOMMENDED = "*", ">"


def print_deployment(table: DeploymentTable, console: Console) -> None:
    """Print the table; the last line is the command that exports the recommended row."""
    print_field("network", table.network, console)
    print_field("clips", table.clips, console)
    machine = table.environment.get("processor", "unknown")
    device = "" if table.device == "cpu" else f", device {table.device}"
    print_field("machine", f"{machine}; {format_threads(table.threads)}{device}", console)
    console.print()
    rows = zip(table.rows, make_cells(table.rows), strict=True)
    marked = ((marks(table, row), *cells) for row, cells in rows)
    print_rows(("", *headings(table)), (2, NAME_WIDTH), marked, console)
    console.print()
    print_field(RECOMMENDED, f"recommended: {table.rule}", console)
    print_field(
        PARETO, "on the Pareto front: no other row is as accurate and faster, or as fast and more accurate", console
    )
    for missing in table.missing:
        word = "FAILED" if missing.kind == "failed" else "missing"
        print_field(word, f"{missing.name}: {missing.reason}", console)
    for row in table.rows:
        if row.name in (table.recommended, table.exact):
            print_notes([f"{row.name}: {note}" for note in row.notes], console)
    others = [row for row in table.rows if row.notes and row.name not in (table.recommended, table.exact)]
    more = (f"--html and --json also have the notes of the {len(others)} other exports",) if others else ()
    print_notes((*table.notes, *more), console)
    if table.folder is not None:
        print_field("kept", str(table.folder), console)
    print_field("took", f"{describe_phases(table.seconds)}; docs/how-to/choose.md explains the columns", console)
    console.print()
    for what, command in conclusions(table):
        print_text(what, console)
        if command:
            print_field("", command, console, width=0, whole=True)


def conclusions(table: DeploymentTable) -> tuple[tuple[str, str], ...]:
    """Return what to deploy, each with its command, the recommended row last; without one there is no last command."""
    best, exact = table.row(table.recommended), table.row(table.exact)
    found = [("exact", exact)] if exact is not None and exact is not best else []
    found += [("recommended", best)] if best is not None else []
    lines = [(f"{what}: {describe(row)}", str(row.command)) for what, row in found]
    if best is None:
        lines.append((f"nothing is recommended: no row is {table.rule}", ""))
    return tuple(lines)


def describe(row: DeploymentRow) -> str:
    """Return a row in a few words: `onnx int8 cpu, 23.1 ms at 34.2 dB`."""
    return f"{display_name(row)}, {milliseconds(row.latency)} ms at {format_decibels(row.snr_db)} dB"


def marks(table: DeploymentTable, row: DeploymentRow) -> str:
    """Return the marks of a row: recommended, and on the Pareto front."""
    return RECOMMENDED * (row.name == table.recommended) + PARETO * row.pareto


def headings(table: DeploymentTable) -> tuple[str, ...]:
    """Return the headings of the table, without that of the marks."""
    times = tuple(f"ms\nbatch {batch}" for batch in table.batches)
    largest = table.batches[-1] if table.batches else 1
    return (
        "format, precision,\ntarget",
        "MB",
        "load\ns",
        "dB",
        "top-1",
        *times,
        f"clips/s\nbatch {largest}",
        "peak\nMB",
    )


def make_cells(rows: Sequence[DeploymentRow]) -> tuple[tuple[str, ...], ...]:
    """Return the cells of each row, in the order of `headings`; the numbers of a column have the same decimals."""
    columns = (
        [display_name(row) for row in rows],
        _column([None if row.bytes is None else row.bytes / MEGA for row in rows], "{:,.1f}"),
        _column([row.load for row in rows], "{:.2f}"),
        [format_decibels(row.snr_db) for row in rows],
        _column([row.top1 for row in rows], "{:.0%}"),
        *(format_column([1e3 * row.speeds[index].median for row in rows]) for index in range(len(rows[0].speeds))),
        format_column([row.speeds[-1].throughput for row in rows]),
        _column([None if (used := row.speeds[-1].memory) is None else used / MEGA for row in rows], "{:,.0f}"),
    )
    return tuple(zip(*columns, strict=True))


def _column(values: Sequence[float | None], spec: str) -> list[str]:
    return ["-" if value is None else spec.format(value) for value in values]


def display_name(row: DeploymentRow) -> str:
    """Return a row's name: `onnx int8 cpu, 2 layers raised`."""
    return f"{row.name}, {count(row.raised, 'layer')} raised" if row.raised else row.name


def format_decibels(value: float) -> str:
    """Return decibels with one decimal; `equal` where there is no error, `-inf` where an output is not finite."""
    return f"{value:.1f}" if math.isfinite(value) else "equal" if value > 0 else "-inf"


def deployment_to_dict(table: DeploymentTable) -> dict[str, Any]:
    """Return everything that `bench --all` found; times are in seconds, sizes and memory in bytes."""
    command = None if (best := table.row(table.recommended)) is None else best.command
    folder = None if table.folder is None else str(table.folder)
    return {"complete": table.complete, "command": command, **asdict(table), "folder": folder}
