"""The result of an optimization."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console

from exporter.reports.console import plain, print_duration, print_field, print_notes, print_rows, print_wrote
from exporter.reports.json_report import parity_to_dict
from exporter.reports.parity import print_parity
from models.text import format_bytes

MAX_REASONS = 8
"""Lines of reasons why nodes were left as they are, at most."""

if TYPE_CHECKING:
    from exporter.passes.base import Decision
    from exporter.workflows.optimize import OptimizeResult


def print_optimization(result: OptimizeResult, console: Console, *, explain: bool = False) -> None:
    """Print what was rewritten, the parity report, and where the file is; with `explain`, a row for each node."""
    if explain:
        _print_decisions(result.decisions, console)
    if result.passes:
        print_field("passes", ", ".join(result.passes), console)
    label = "nodes" if result.modified or result.speed is None else "tried"
    for action, count in Counter(decision.action for decision in result.decisions).items():
        print_field(label, f"{count}: {action}", console)
    _print_unchanged(result, console)
    print_notes(result.notes, console)
    if result.report is not None:
        console.print()
        print_parity(result.report, console)
    if not result.modified:
        outcome = "it was copied" if result.files else "it was left as it is"
        print_field("result", f"nothing was rewritten in {result.source}; {outcome}", console)
    for path in result.files:
        print_wrote(path, f"  {format_bytes(path.stat().st_size)}", console)
    if result.modified:
        change = result.bytes_after / result.bytes_before - 1
        before, after = format_bytes(result.bytes_before), format_bytes(result.bytes_after)
        print_field("size", f"{before} before, {after} now ({change:+.1%})", console)
        if result.speed is not None:
            print_field("speed", str(result.speed), console)
    print_duration(result.seconds, console)
    if result.modified and result.report is None:
        print_field("result", "not verified (--no-verify): the file was not compared with the original", console)


def optimization_to_dict(result: OptimizeResult) -> dict[str, Any]:
    """Return everything that `optimize` did; `parity` is null where nothing was verified."""
    return {
        "source": str(result.source),
        "path": str(result.path),
        "modified": result.modified,
        "passes": list(result.passes),
        "decisions": [asdict(decision) for decision in result.decisions],
        "unchanged": [asdict(reason) for reason in result.unchanged],
        "speed": None if result.speed is None else asdict(result.speed),
        "recorded_decisions": result.record,
        "files": [str(path) for path in result.files],
        "bytes": {"before": result.bytes_before, "after": result.bytes_after},
        "parity": None if result.report is None else parity_to_dict([result.report]),
        "notes": list(result.notes),
        "seconds": result.seconds,
    }


def _print_unchanged(result: OptimizeResult, console: Console) -> None:
    """Print why nodes were left as they are: each reason where nothing was rewritten, else those that can be helped."""
    rows = [row for row in result.unchanged if not result.modified or row.remedy or row.undone]
    for row in rows[:MAX_REASONS]:
        print_field("left", str(row), console)
    if len(rows) > MAX_REASONS:
        print_field("left", f"{len(rows) - MAX_REASONS} more reasons; --explain prints a row for each node", console)


def _print_decisions(decisions: Sequence[Decision], console: Console) -> None:
    if not decisions:
        console.print("no pass has anything to rewrite in this graph")
        return
    headings = ("node", "operator", "decision", "reason", "predicted", "measured", "error")
    rows = [
        (
            *(row.node, row.operator, row.action, plain(row.reason)),
            *("-" if time is None else f"{time:.3g} ms" for time in (row.predicted_ms, row.measured_ms)),
            "-" if row.error is None else f"{row.error:.1e}",
        )
        for row in decisions
    ]
    print_rows(headings, (24, 18, 14, 44), rows, console)
    console.print()
