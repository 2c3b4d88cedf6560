"""A parity report for people: its comparisons, layer by layer where asked, and the result."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from exporter.reports.console import (
    describe_phases,
    make_table,
    print_field,
    print_notes,
    print_raised,
    print_table,
    print_text,
)
from exporter.reports.formatting import budget_percent, error, escape, escape_name
from exporter.results import Comparison, LayerError, Localization, ParityReport
from models.errors import count

INPUT_WIDTH = 15
"""Width of an input's name in the table of comparisons, such as `saturated+video`, where all columns have `NARROW`
characters; a wider console leaves more."""
NARROW = 80


def print_reports(reports: Sequence[ParityReport], console: Console) -> None:
    """Print the parity report of each artifact, with an empty line between two."""
    for number, report in enumerate(reports):
        if number:
            console.print()
        print_parity(report, console)


def print_parity(report: ParityReport, console: Console) -> None:
    """Print the comparisons of one artifact, a table for each output, and the result."""
    outputs = list(dict.fromkeys(row.output for row in report.comparisons))
    print_text(
        f"parity of {escape(report.artifact)} in {escape(report.engine)}; "
        f"absolute errors vs {escape(report.float64_name)}",
        console,
    )
    for output in outputs:
        console.print()
        if len(outputs) > 1:
            console.print(f"output {escape(output)}")
        rows = [row for row in report.comparisons if row.output == output]
        print_table(_comparisons(rows, max(INPUT_WIDTH, INPUT_WIDTH + console.width - NARROW)), console)
    console.print()
    if report.held_out is not None:
        print_field("accuracy", escape(str(report.held_out)), console)
    if report.structure is not None:
        print_field("graph", escape(str(report.structure)), console)
    print_raised(report.raised_layers, console)
    if report.against is not None:
        _print_against(report, console)
    for found in report.determinism:
        bits = "the same bits" if found.identical else f"differences of up to {found.max_abs_diff:.1e}"
        print_field("bits", f"{found.condition}: {bits}", console)
    if report.localization is not None:
        _print_layers(report.localization, console)
    if report.provenance is not None:
        print_field("manifest", escape(report.provenance), console)
    print_notes(report.notes, console)
    print_field("result", f"{_result(report)}; {describe_phases(report.seconds)}", console)


def _result(report: ParityReport) -> str:
    """Return the result of a report as a line, in rich's markup."""
    nodes = f"{count(report.placement.nodes, 'node')} on {report.placement.device}"
    if report.passed:
        return f"[bold green]passed[/]: {escape(report.tolerance)}; {nodes}"
    failed = [row for row in report.comparisons if not row.passed]
    if failed:
        worst = max(failed, key=lambda row: row.budget_used)
        reason = f"{len(failed)} of {len(report.comparisons)} comparisons; worst: {escape(worst.input)}, "
        return f"[bold red]FAILED[/]: {reason}{budget_percent(worst.budget_used)} of the error budget; {nodes}"
    if report.placement.fallback_nodes:
        return "[bold red]FAILED[/]: some nodes ran on another device (--allow-fallback accepts that)"
    if report.structure is not None and report.structure.fails:
        return "[bold red]FAILED[/]: the graph differs from the reference by more than rounding"
    return "[bold red]FAILED[/]: see the notes"


def _print_against(report: ParityReport, console: Console) -> None:
    """Print how an artifact compares with another engine or file."""
    differences = [row.max_abs_diff for row in report.comparisons if row.max_abs_diff is not None]
    worst = max((row.budget_used for row in report.against_comparisons), default=0.0)
    difference = f"differences of at most {max(differences):.1e}" if differences else "no outputs in common"
    used = f"it uses {budget_percent(worst)} of its own error budget"
    print_field("against", f"{escape(str(report.against))}: {difference}; {used}", console)


def _print_layers(found: Localization, console: Console) -> None:
    if found.layers:
        print_field("layers", f"on {escape(found.input)}; errors are relative to each layer's largest value", console)
        table = make_table(("layer", "artifact's value", "found by", "error", "float32", "budget\nused"), (24, 24, 24))
        for layer in found.layers:
            table.add_row(*map(escape_name, layer_cells(layer)), style="red" if exceeds_budget(layer) else "")
        print_table(table, console)
    print_field("layers", escape(found.summary), console)


def layer_cells(layer: LayerError) -> tuple[str, ...]:
    """Return the cells of a layer's row: its name, the artifact's value, how that was found, errors, budget used."""
    return (
        layer.layer,
        layer.value or "not in the graph",
        layer.matched or "-",
        "-" if layer.error is None else error(layer.error),
        error(layer.float32_error),
        "-" if layer.budget_used is None else budget_percent(layer.budget_used),
    )


def exceeds_budget(layer: LayerError) -> bool:
    """Return whether a layer's error is larger than its budget."""
    return layer.budget_used is not None and layer.budget_used > 1


def discrete_cells(row: Comparison) -> tuple[str, ...]:
    """Return the shares of a discrete output's elements: equal, equal in the float32 baseline, that may differ."""
    return tuple(f"{100 * share:.4f}%" for share in (1 - row.max_error, 1 - row.float32_max_error, row.budget))


def _comparisons(rows: Sequence[Comparison], width: int) -> Table:
    """Return a table of comparisons whose inputs' names have at most `width` characters a line."""
    if any(row.equal is not None for row in rows):
        return _discrete_comparisons(rows, width)
    low = any(row.min_snr_db is not None for row in rows)
    middle = ("SNR\ndB", "at least\ndB") if low else ("float32\nmax", "float32\nmean")
    headings = ("batch", "max\nerror", "mean\nerror", *middle, "budget\nused", "cosine")
    table = make_table(("input", *headings), (width,))
    table.add_column("top-1", no_wrap=True)
    table.add_column("", no_wrap=True)  # the result, which needs no heading: that leaves room for the input's name
    for row in rows:
        own = (
            (f"{row.snr_db:.1f}", "-" if row.min_snr_db is None else f"{row.min_snr_db:g}")
            if low
            else (f"{row.float32_max_error:.1e}", f"{row.float32_mean_error:.1e}")
        )
        table.add_row(
            _broken_at_plus(escape_name(row.input.replace(" + ", "+")), width),
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


def _broken_at_plus(name: str, width: int) -> str:
    """Return the name of a batch of several inputs in lines that fit its column, if the names in it do."""
    lines = [""]
    for part in re.split(r"(?<=\+)", name):
        if lines[-1] and len(lines[-1] + part) > width:
            lines.append(part)
        else:
            lines[-1] += part
    return "\n".join(lines)


def _discrete_comparisons(rows: Sequence[Comparison], width: int) -> Table:
    """Return the table of a discrete output: shares of elements in place of errors."""
    table = make_table(("input", "batch", "equal", "float32\nequal", "may\ndiffer", "budget\nused"), (width,))
    table.add_column("result", no_wrap=True)
    for row in rows:
        table.add_row(
            _broken_at_plus(escape_name(row.input.replace(" + ", "+")), width),
            str(row.batch),
            *discrete_cells(row),
            budget_percent(row.budget_used),
            "[green]pass[/]" if row.passed else "[red]FAIL[/]",
        )
    return table
