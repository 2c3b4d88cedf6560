"""What an optimisation did, for people and machines."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from exporter.reports.console import print_parity, size
from exporter.reports.json_report import parity_to_dict

if TYPE_CHECKING:
    from exporter.passes.base import Decision
    from exporter.workflows.optimize import OptimizeResult


def print_optimized(optimized: OptimizeResult, console: Console, *, explain: bool = False) -> None:
    """Print what was rewritten, the verdict, and where the file is; with `explain`, every node's row."""
    if explain:
        _print_decisions(optimized.decisions, console)
    if optimized.passes:
        console.print(f"passes   {', '.join(optimized.passes)}")
    for choice, count in Counter(decision.action for decision in optimized.decisions).items():
        console.print(f"         {count} {'nodes' if count > 1 else 'node'}: {escape(choice)}")
    for note in optimized.notes:
        console.print(f"note     {escape(note)}")
    if optimized.report is not None:
        print_parity(optimized.report, console)
    if not optimized.modified:
        done = "its bytes were copied" if optimized.files else "the file is as it was"
        console.print(f"nothing to do: no pass applies to {escape(str(optimized.source))}; {done}")
    for path in optimized.files:
        console.print(f"wrote    {escape(str(path))}  {size(path.stat().st_size)}")
    if optimized.modified:
        change = optimized.bytes_after / optimized.bytes_before - 1
        console.print(
            f"size     {size(optimized.bytes_before)} before, {size(optimized.bytes_after)} now ({change:+.1%})"
        )
    phases = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in optimized.seconds.items())
    console.print(f"took     {sum(optimized.seconds.values()):.1f} s ({phases})")
    if optimized.modified and optimized.report is None:
        console.print("verdict  none: --no-verify; nobody has held it against the original")


def optimized_object(optimized: OptimizeResult) -> dict[str, Any]:
    """Return everything `optimize` did; `parity` is null where nothing was verified."""
    report = optimized.report
    return {
        "source": str(optimized.source),
        "path": str(optimized.path),
        "modified": optimized.modified,
        "passes": list(optimized.passes),
        "decisions": [asdict(decision) for decision in optimized.decisions],
        "files": [str(path) for path in optimized.files],
        "bytes": {"before": optimized.bytes_before, "after": optimized.bytes_after},
        "parity": None if report is None else parity_to_dict([report]),
        "notes": list(optimized.notes),
        "seconds": optimized.seconds,
    }


def _print_decisions(decisions: tuple[Decision, ...], console: Console) -> None:
    if not decisions:
        console.print("no node that any pass could have rewritten")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("node", overflow="fold", max_width=24)
    table.add_column("operator", overflow="fold", max_width=18)
    table.add_column("decision", overflow="fold", max_width=14)
    table.add_column("why", overflow="fold", max_width=44)
    table.add_column("predicted", justify="right", no_wrap=True)
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("error", justify="right", no_wrap=True)
    for row in decisions:
        table.add_row(
            escape(row.node),
            escape(row.operator),
            escape(row.action),
            escape(row.why),
            _milliseconds(row.predicted_ms),
            _milliseconds(row.measured_ms),
            "-" if row.error is None else f"{row.error:.1e}",
        )
    console.print(table)
    console.print()


def _milliseconds(time: float | None) -> str:
    return "-" if time is None else f"{time:.3g} ms"
