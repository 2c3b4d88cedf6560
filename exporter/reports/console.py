"""Results for people, on a terminal or in a pipe."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from rich.console import Console
from rich.table import Table

from exporter.artifacts.files import manifest_path
from exporter.isolation.streams import user_stderr, user_stdout
from exporter.memory_errors import translate_memory_errors
from exporter.reports.formatting import budget_percent, escape, escape_name, format_bytes
from exporter.reports.json_report import dump
from exporter.results import Comparison, Localization, ParityReport
from exporter.signing import describe_signature

if TYPE_CHECKING:
    from rich.status import Status

    from exporter.workflows.export import ExportResult
    from exporter.workflows.inspect import Inspection

Result = TypeVar("Result")

PIPE_WIDTH = 120
INPUT_WIDTH = 15
"""Of an input's name in the table of comparisons, such as `saturated+video`: all columns then have 80 characters."""


class _Pipe(Console):
    def on_broken_pipe(self) -> None:
        """Continue when the reader of the pipe has gone, so that the exit code is right; rich would exit with 1."""
        _discard_stdout()


def _discard_stdout() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, user_stdout().fileno())
    os.close(null)


def stdout() -> Console:
    """Return the console for results; in a pipe it is wide enough for every table and has no colours."""
    stream = user_stdout()
    console = _Pipe(file=stream, highlight=False, emoji=False, soft_wrap=True)
    console.width = _width(stream, console) if console.is_terminal else PIPE_WIDTH
    return console


def _width(stream: TextIO, console: Console) -> int:
    """Return the width of the terminal that a stream goes to; rich looks at the standard descriptors only."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or console.width
    except (OSError, ValueError):
        return console.width


def writes_unicode() -> bool:
    """Return whether stdout takes every character: otherwise JSON is written with escapes of its own."""
    return (user_stdout().encoding or "").lower().replace("-", "") in ("utf8", "utf16", "utf32")


def show(
    result: Result,
    to_dict: Callable[[Result], dict[str, Any]],
    print_result: Callable[[Result, Console], None],
    *,
    as_json: bool,
) -> None:
    """Print a result on stdout, as one JSON object or for people."""
    if not as_json:
        print_result(result, stdout())
        return
    try:
        print_json(to_dict(result))
    except BrokenPipeError:
        _discard_stdout()


def print_json(value: dict[str, Any]) -> None:
    """Print an object on stdout as JSON."""
    print(dump(value, ascii_only=not writes_unicode()), file=user_stdout(), flush=True)


class TerminalProgress:
    """A progress callback that shows the current step on stderr, if that is a terminal.

    Attributes:
        step: the current one.
    """

    def __init__(self, status: Status | None) -> None:
        self._status = status
        self.step = "it started"

    def __call__(self, step: str) -> None:
        """Show a step."""
        self.step = step
        if self._status is not None:
            self._status.update(escape_name(step))

    @contextmanager
    def paused(self) -> Generator[None]:
        """Take the step off the terminal while results are printed on it."""
        if self._status is not None:
            self._status.stop()
        try:
            yield
        finally:
            if self._status is not None:
                self._status.start()


@contextmanager
def progress_on_terminal() -> Generator[TerminalProgress]:
    """Yield a progress callback that shows the current step on stderr, if that is a terminal."""
    stream = user_stderr()
    console = Console(file=stream, emoji=False)
    with ExitStack() as stack:
        shown = stream.isatty() and console.is_terminal
        progress = TerminalProgress(stack.enter_context(console.status("starting")) if shown else None)
        with translate_memory_errors(None, lambda: progress.step):
            yield progress


def make_table(headings: Sequence[str], widths: Sequence[int] = ()) -> Table:
    """Return a table without lines: text columns of at most the given widths first, then columns of numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column, heading in enumerate(headings):
        if column < len(widths):
            table.add_column(heading, max_width=widths[column], overflow="fold")
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    return table


def print_notes(notes: Sequence[str], console: Console) -> None:
    """Print a line for each note."""
    for note in notes:
        console.print(f"note     {escape(note)}")


def print_raised(layers: Mapping[str, tuple[str, float]], console: Console) -> None:
    """Print a line for each layer that computes in a higher precision than the others."""
    for layer, (precision, gain) in layers.items():
        console.print(f"raised   {escape_name(layer)} computes in {escape_name(precision)}: {gain:+.1f} dB")


def print_duration(seconds: dict[str, float], console: Console) -> None:
    """Print how long a command took, in all and by phase."""
    console.print(f"took     {sum(seconds.values()):.1f} s ({_phases(seconds)})")


def print_export(result: ExportResult, console: Console) -> None:
    """Print what was built, the parity reports, and where the files are."""
    console.print(f"network  {escape(result.network)}")
    print_notes(result.notes, console)
    print_reports(result.reports, console)
    console.print()
    for artifact in result.artifacts:
        for entry in artifact.manifest.files:
            path = artifact.path.with_name(entry.path)
            console.print(f"wrote    {escape(str(path))}  {format_bytes(entry.bytes)}  SHA-256 {entry.sha256[:16]}…")
        signed = artifact.manifest.signed
        by = "" if signed is None else f", {describe_signature(signed, checked=True)}"
        console.print(f"wrote    {escape(str(manifest_path(artifact.path)))}  (manifest{escape(by)})")
    print_duration(result.seconds, console)
    if not result.reports:
        for artifact in result.artifacts:
            print_raised(artifact.manifest.raised_layers, console)
        console.print("result   not verified (--no-verify); check the artifact with `verify parity` before you use it")


def print_reports(reports: Sequence[ParityReport], console: Console) -> None:
    """Print the parity report of each artifact."""
    for report in reports:
        print_parity(report, console)


def print_parity(report: ParityReport, console: Console) -> None:
    """Print the comparisons of one artifact, a table for each output, and the result."""
    outputs = list(dict.fromkeys(row.output for row in report.comparisons))
    console.print()
    console.print(
        f"parity of {escape(report.artifact)} in {escape(report.engine)}; "
        f"absolute errors vs {escape(report.float64_name)}"
    )
    for output in outputs:
        console.print()
        if len(outputs) > 1:
            console.print(f"output {escape(output)}")
        console.print(_comparisons([row for row in report.comparisons if row.output == output]))
    console.print()
    if report.held_out is not None:
        console.print(f"accuracy {escape(str(report.held_out))}")
    print_raised(report.raised_layers, console)
    if report.against is not None:
        _print_against(report, console)
    for found in report.determinism:
        bits = "the same bits" if found.identical else f"differences of up to {found.max_abs_diff:.1e}"
        console.print(f"bits     {found.condition}: {bits}")
    if report.localization is not None:
        _print_layers(report.localization, console)
    print_notes(report.notes, console)
    console.print(f"result   {_result(report)}; {_phases(report.seconds)}")


def _result(report: ParityReport) -> str:
    """Return the result of a report as a line, in rich's markup."""
    nodes = f"{report.placement.nodes} nodes on {report.placement.device}"
    if report.passed:
        return f"[bold green]passed[/]: {escape(report.tolerance)}; {nodes}"
    failed = [row for row in report.comparisons if not row.passed]
    if failed:
        worst = max(failed, key=lambda row: row.budget_used)
        reason = f"{len(failed)} of {len(report.comparisons)} comparisons; worst: {escape(worst.input)}, "
        return f"[bold red]FAILED[/]: {reason}{budget_percent(worst.budget_used)} of the error budget; {nodes}"
    if report.placement.fallback_nodes:
        return "[bold red]FAILED[/]: some nodes ran on another device (--allow-fallback accepts that)"
    return "[bold red]FAILED[/]: see the notes"


def _print_against(report: ParityReport, console: Console) -> None:
    """Print how an artifact compares with another engine or file."""
    differences = [row.max_abs_diff for row in report.comparisons if row.max_abs_diff is not None]
    worst = max((row.budget_used for row in report.against_comparisons), default=0.0)
    difference = f"differences of at most {max(differences):.1e}" if differences else "no outputs in common"
    console.print(
        f"against  {escape(str(report.against))}: {difference}; it uses {budget_percent(worst)} of its own error budget"
    )


def _print_layers(found: Localization, console: Console) -> None:
    if found.layers:
        console.print(f"layers   on {escape(found.input)}; errors are relative to each layer's largest value")
        table = make_table(("layer", "artifact's value", "found by", "error", "float32", "budget\nused"), (24, 24, 24))
        for layer in found.layers:
            table.add_row(
                escape_name(layer.layer),
                escape_name(layer.value or "not in the graph"),
                layer.matched or "-",
                "-" if layer.error is None else f"{layer.error:.1e}",
                f"{layer.float32_error:.1e}",
                "-" if layer.budget_used is None else budget_percent(layer.budget_used),
                style="red" if layer.budget_used is not None and layer.budget_used > 1 else "",
            )
        console.print(table)
    console.print(f"layers   {escape(found.summary)}")


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Print what a file is; its tensors last."""
    rows = {
        "file": f"{inspection.path}, {format_bytes(inspection.bytes)}",
        "type": inspection.kind,
        "SHA-256": inspection.sha256,
        **inspection.facts,
    }
    if inspection.integrity is not None:
        rows["integrity"] = (
            "this is the file that the manifest beside it describes"
            if inspection.integrity == "ok"
            else inspection.integrity
        )
    elif inspection.manifest is not None:
        rows["integrity"] = "not checked: there is no manifest beside the file, only the one inside it"
    if inspection.tensors:
        rows["tensors"] = str(len(inspection.tensors))
    width = max(map(len, rows)) + 2
    for name, value in rows.items():
        console.print(f"{escape(name):<{width}}{escape(value)}")
    for tensor in inspection.tensors:
        console.print(f"  {escape(str(tensor))}")


def _comparisons(rows: Sequence[Comparison]) -> Table:
    """Return a table of comparisons that fits 80 columns, whatever the inputs are called."""
    if any(row.equal is not None for row in rows):
        return _discrete_comparisons(rows)
    low = any(row.min_snr_db is not None for row in rows)
    middle = ("SNR\ndB", "at least\ndB") if low else ("float32\nmax", "float32\nmean")
    headings = ("batch", "max\nerror", "mean\nerror", *middle, "budget\nused", "cosine")
    table = make_table(("input", *headings), (INPUT_WIDTH,))
    table.add_column("top-1", no_wrap=True)
    table.add_column("", no_wrap=True)  # the result, which needs no heading: that leaves room for the input's name
    for row in rows:
        own = (
            (f"{row.snr_db:.1f}", "-" if row.min_snr_db is None else f"{row.min_snr_db:g}")
            if low
            else (f"{row.float32_max_error:.1e}", f"{row.float32_mean_error:.1e}")
        )
        table.add_row(
            _broken_at_plus(escape_name(row.input.replace(" + ", "+"))),
            str(row.batch),
            f"{row.max_error:.1e}",
            f"{row.mean_error:.1e}",
            *own,
            budget_percent(row.budget_used),
            f"{row.cosine:.6f}",
            row.top1 or "-",
            "[green]pass[/]" if row.passed else "[red]FAIL[/]",
        )
    return table


def _broken_at_plus(name: str) -> str:
    """Return the name of a batch of several inputs in lines that fit its column, if the names in it do."""
    lines = [""]
    for part in re.split(r"(?<=\+)", name):
        if lines[-1] and len(lines[-1] + part) > INPUT_WIDTH:
            lines.append(part)
        else:
            lines[-1] += part
    return "\n".join(lines)


def _discrete_comparisons(rows: Sequence[Comparison]) -> Table:
    """Return the table of a discrete output: shares of elements in place of errors."""
    table = make_table(("input", "batch", "equal", "float32\nequal", "may\ndiffer", "budget\nused"), (INPUT_WIDTH,))
    table.add_column("result", no_wrap=True)
    for row in rows:
        table.add_row(
            _broken_at_plus(escape_name(row.input.replace(" + ", "+"))),
            str(row.batch),
            *(f"{100 * share:.3f}%" for share in (1 - row.max_error, 1 - row.float32_max_error, row.budget)),
            budget_percent(row.budget_used),
            "[green]pass[/]" if row.passed else "[red]FAIL[/]",
        )
    return table


def _phases(seconds: dict[str, float]) -> str:
    return ", ".join(f"{phase} {value:.1f} s" for phase, value in seconds.items())
