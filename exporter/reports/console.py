"""The same results for people, on a terminal or in a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from exporter.artifacts.manifest import manifest_path
from exporter.results import Comparison, Localization, ParityReport
from models.progress import Progress

if TYPE_CHECKING:
    from exporter.workflows.export import ExportResult
    from exporter.workflows.inspect import Inspection

PIPE_WIDTH = 120
SMALL = 1024


class _Pipe(Console):
    def on_broken_pipe(self) -> None:
        """Go on without the reader, so that the exit code still says what was found; rich would exit with 1."""
        drop_stdout()


def drop_stdout() -> None:
    """Send what is still to be printed nowhere: whoever read stdout has gone (`| head`)."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def echo(text: str) -> None:
    """Print a line for a machine, whether or not somebody still reads."""
    try:
        print(text, flush=True)  # noqa: T201
    except BrokenPipeError:
        drop_stdout()


def stdout() -> Console:
    """Return the console for results; in a pipe it is wide enough for every table and has no colours."""
    console = _Pipe(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


@contextmanager
def progress_on_terminal() -> Generator[Progress]:
    """Give a progress that shows the current step on stderr, if that is a terminal."""
    console = Console(stderr=True)
    if not (sys.stderr.isatty() and console.is_terminal):
        yield lambda _step: None
        return
    with console.status("starting") as status:
        yield lambda step: status.update(escape(step))


def print_exported(exported: ExportResult, console: Console) -> None:
    """Print what was built, the verdicts, and where the files are."""
    console.print(f"network  {escape(exported.network)}")
    for note in exported.notes:
        console.print(f"note     {escape(note)}")
    for report in exported.reports:
        print_parity(report, console)
    console.print()
    for artifact in exported.artifacts:
        for entry in artifact.manifest.files:
            path = artifact.path.with_name(entry.path)
            console.print(f"wrote    {escape(str(path))}  {size(entry.bytes)}  SHA-256 {entry.sha256[:16]}…")
        console.print(f"         {escape(str(manifest_path(artifact.path)))}  (manifest)")
    phases = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in exported.seconds.items())
    console.print(f"took     {sum(exported.seconds.values()):.1f} s ({phases})")
    if not exported.reports:
        console.print("verdict  none: --no-verify; run `verify parity` before you trust the artifact")


def print_parity(report: ParityReport, console: Console) -> None:
    """Print one artifact's table, one for each output, and verdict."""
    outputs = list(dict.fromkeys(row.output for row in report.comparisons))
    console.print()
    console.print(
        f"parity of {escape(report.artifact)} in {escape(report.runtime)}, errors against {escape(report.truth)}"
    )
    for output in outputs:
        console.print()
        if len(outputs) > 1:
            console.print(f"output {output}")
        console.print(_table([row for row in report.comparisons if row.output == output]))
    console.print()
    _print_further(report, console)
    for note in report.notes:
        console.print(f"note     {escape(note)}")
    failed = [row for row in report.comparisons if not row.passed]
    where = f"{report.placement.nodes} nodes on {report.placement.device}"
    seconds = ", ".join(f"{phase} {value:.1f} s" for phase, value in report.seconds.items())
    if report.passed:
        console.print(f"verdict  [bold green]passed[/]: {escape(report.tolerance)}; {where}; {seconds}")
    elif failed:
        worst = max(failed, key=lambda row: row.budget_used)
        console.print(
            f"verdict  [bold red]FAILED[/]: {len(failed)} of {len(report.comparisons)} comparisons; "
            f"worst: {escape(worst.input)}, {_times(worst.budget_used)} the budget; {where}; {seconds}"
        )
    else:
        reason = (
            "nodes ran on another device (--allow-fallback accepts that)"
            if report.placement.fallback_nodes
            else "see the notes"
        )
        console.print(f"verdict  [bold red]FAILED[/]: {reason}; {seconds}")


def _print_further(report: ParityReport, console: Console) -> None:
    """Print what was asked for beside the verdict: another engine, determinism, the layers."""
    if report.against is not None:
        distances = [row.max_abs_diff for row in report.comparisons if row.max_abs_diff is not None]
        worst = max((row.budget_used for row in report.against_comparisons), default=0.0)
        apart = f"at most {max(distances):.1e} apart" if distances else "no answers in common"
        console.print(f"against  {escape(report.against)}: {apart}; it uses {_percent(worst)} of its own budget")
    for found in report.determinism:
        bits = "the same bits" if found.identical else f"up to {found.largest:.1e} apart"
        console.print(f"bits     {found.condition}: {bits}")
    if report.localization is not None:
        _print_layers(report.localization, console)


def _print_layers(found: Localization, console: Console) -> None:
    if found.layers:
        console.print(f"layers   of {escape(found.input)}; errors are of each layer's largest value")
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for heading in ("layer", "artifact's value", "found by"):
            table.add_column(heading, overflow="fold", max_width=24)
        for heading in ("error", "float32", "budget\nused"):
            table.add_column(heading, justify="right", no_wrap=True)
        for layer in found.layers:
            error = "-" if layer.error is None else f"{layer.error:.1e}"
            share = "-" if layer.budget_used is None else _percent(layer.budget_used)
            style = "red" if layer.budget_used is not None and layer.budget_used > 1 else ""
            table.add_row(
                escape(layer.layer),
                escape(layer.value or "not in the graph"),
                layer.matched or "-",
                error,
                f"{layer.reference_error:.1e}",
                share,
                style=style,
            )
        console.print(table)
    console.print(f"layers   {escape(found.summary)}")


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Print what a file is; its tensors last."""
    rows = {
        "file": f"{inspection.path}, {size(inspection.bytes)}",
        "kind": inspection.kind,
        "SHA-256": inspection.sha256,
        **inspection.facts,
    }
    if inspection.integrity is not None:
        rows["integrity"] = (
            "the manifest beside it describes this file" if inspection.integrity == "ok" else inspection.integrity
        )
    elif inspection.manifest is not None:
        rows["integrity"] = "not checked: no manifest beside it, only the one inside"
    width = max(map(len, rows)) + 2
    for name, value in rows.items():
        console.print(f"{name:<{width}}{escape(value)}")
    if inspection.tensors:
        console.print(f"{'tensors':<{width}}{len(inspection.tensors)}")
    for tensor in inspection.tensors:
        console.print(f"  {escape(str(tensor))}")


def size(count: int) -> str:
    """Return a size in bytes for people: 314 MB (decimal), 12 bytes."""
    return f"{count} bytes" if count < SMALL else f"{count / 1e6:,.1f} MB"


def _table(rows: Sequence[Comparison]) -> Table:
    """Lay out rows within 80 columns, whatever the inputs are called."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("input", max_width=12, overflow="fold", vertical="bottom")
    for heading in ("batch", "max\nerror", "mean\nerror", "float32\nmax", "float32\nmean", "budget\nused", "cosine"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("top-1", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        table.add_row(
            escape(row.input),
            str(row.batch),
            f"{row.max_error:.1e}",
            f"{row.mean_error:.1e}",
            f"{row.reference_max_error:.1e}",
            f"{row.reference_mean_error:.1e}",
            _percent(row.budget_used),
            f"{row.cosine:.6f}",
            row.top1 or "-",
            "[green]pass[/]" if row.passed else "[red]FAIL[/]",
        )
    return table


def _percent(share: float) -> str:
    return f"{share:.0%}" if share < 10 else _times(share)


def _times(share: float) -> str:
    if share == float("inf"):
        return "inf"
    return f"{share:.0f}x" if share < 1e5 else f"{share:.0e}x"
