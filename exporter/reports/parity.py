"""A parity report for people: its comparisons, layer by layer where asked, and the result."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from exporter.reports.console import (
    MAX_NAME,
    describe_phases,
    print_field,
    print_notes,
    print_raised,
    print_result,
    print_rows,
    print_text,
)
from exporter.reports.formatting import budget_percent, error
from exporter.results import Comparison, LayerError, Localization, ParityReport
from models.errors import count
from models.text import shorten

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
    print_text(f"parity of {report.artifact} in {report.engine}; absolute errors vs {report.float64_name}", console)
    for output in outputs:
        console.print()
        if len(outputs) > 1:
            print_text(f"output {output}", console)
        _print_comparisons([row for row in report.comparisons if row.output == output], console)
    console.print()
    if report.held_out is not None:
        print_field("accuracy", str(report.held_out), console)
    if report.structure is not None:
        print_field("graph", str(report.structure), console)
    print_raised(report.raised_layers, console)
    if report.against is not None:
        _print_against(report, console)
    for found in report.determinism:
        bits = "the same bits" if found.identical else f"differences of up to {found.max_abs_diff:.1e}"
        print_field("bits", f"{found.condition}: {bits}", console)
    if report.localization is not None:
        _print_layers(report.localization, console)
    if report.provenance is not None:
        print_field("manifest", report.provenance, console)
    print_notes(report.notes, console)
    print_result(passed=report.passed, text=f": {_reason(report)}; {describe_phases(report.seconds)}", console=console)


def _reason(report: ParityReport) -> str:
    """Return what the result of a report is based on."""
    nodes = f"{count(report.placement.nodes, 'node')} on {report.placement.device}"
    if report.passed:
        return f"{report.tolerance}; {nodes}"
    failed = [row for row in report.comparisons if not row.passed]
    if failed:
        worst = max(failed, key=lambda row: row.budget_used)
        used = f"{budget_percent(worst.budget_used)} of the error budget"
        return f"{len(failed)} of {len(report.comparisons)} comparisons; worst: {worst.input}, {used}; {nodes}"
    if report.placement.fallback_nodes:
        return "some nodes ran on another device (--allow-fallback accepts that)"
    if report.structure is not None and report.structure.fails:
        return "the graph differs from the reference by more than rounding"
    return "see the notes"


def _print_against(report: ParityReport, console: Console) -> None:
    """Print how an artifact compares with another engine or file."""
    differences = [row.max_abs_diff for row in report.comparisons if row.max_abs_diff is not None]
    worst = max((row.budget_used for row in report.against_comparisons), default=0.0)
    difference = f"differences of at most {max(differences):.1e}" if differences else "no outputs in common"
    used = f"it uses {budget_percent(worst)} of its own error budget"
    print_field("against", f"{report.against}: {difference}; {used}", console)


def _print_layers(found: Localization, console: Console) -> None:
    if found.layers:
        print_field("layers", f"on {found.input}; errors are relative to each layer's largest value", console)
        headings = ("layer", "artifact's value", "found by", "error", "float32", "budget\nused")
        bad = {number for number, layer in enumerate(found.layers) if exceeds_budget(layer)}
        print_rows(headings, (24, 24, 24), map(layer_cells, found.layers), console, bad=bad)
    print_field("layers", found.summary, console)


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


def _print_comparisons(rows: Sequence[Comparison], console: Console) -> None:
    """Print the comparisons of an output: of a discrete one shares of elements in place of errors."""
    width = max(INPUT_WIDTH, INPUT_WIDTH + console.width - NARROW)
    discrete, low = any(row.equal is not None for row in rows), any(row.min_snr_db is not None for row in rows)
    if discrete:
        headings, after = ("equal", "float32\nequal", "may\ndiffer", "budget\nused"), ("result",)
    else:
        middle = ("SNR\ndB", "at least\ndB") if low else ("float32\nmax", "float32\nmean")
        headings = ("max\nerror", "mean\nerror", *middle, "budget\nused", "cosine")
        after = ("top-1", "")  # the result needs no heading: that leaves room for the input's name
    cells = (
        (
            _broken_at_plus(row.input.replace(" + ", "+"), width),
            str(row.batch),
            *((*discrete_cells(row), budget_percent(row.budget_used)) if discrete else _error_cells(row, low=low)),
            Text("pass", "green") if row.passed else Text("FAIL", "red"),
        )
        for row in rows
    )
    print_rows(("input", "batch", *headings), (width,), cells, console, after=after)


def _error_cells(row: Comparison, *, low: bool) -> tuple[str, ...]:
    own = (
        (f"{row.snr_db:.1f}", "-" if row.min_snr_db is None else f"{row.min_snr_db:g}")
        if low
        else (f"{row.float32_max_error:.1e}", f"{row.float32_mean_error:.1e}")
    )
    errors = f"{row.max_error:.1e}", f"{row.mean_error:.1e}"
    return (*errors, *own, budget_percent(row.budget_used), f"{row.cosine:.6f}", row.top1 or "-")


def _broken_at_plus(name: str, width: int) -> Text:
    """Return the name of a batch of several inputs in lines that fit its column, if the names in it do."""
    lines = [""]
    for part in re.split(r"(?<=\+)", shorten(name, MAX_NAME)):
        if lines[-1] and len(lines[-1] + part) > width:
            lines.append(part)
        else:
            lines[-1] += part
    return Text("\n".join(lines))
