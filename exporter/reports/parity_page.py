"""`verify parity --html`: the contents of the page; the templates decide how it looks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from exporter.reports.console import describe_phases
from exporter.reports.formatting import GLOSSARY, budget_percent, error, format_scores, replace_invisible, times
from exporter.reports.html import Row, Table, render, thumbnails
from exporter.reports.parity_charts import histogram_figure, input_figure, layer_figure
from exporter.results import ParityReport, Ranking
from models.errors import count


@dataclass(frozen=True)
class Cell:
    """A class and its score, and whether the float64 reference has another class at this rank."""

    number: int
    score: str
    differs: bool


@dataclass(frozen=True)
class Classes:
    """The highest classes of one output: rows of float64 reference, float32 baseline, artifact."""

    id: str
    output: str
    same: bool
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Clip:
    """An input with its classes, and its frames if it is a video clip."""

    name: str
    tables: tuple[Classes, ...]
    frames: tuple[str, ...] = ()
    width: int = 0
    height: int = 0
    numbers: str = ""


def parity_page(
    reports: Sequence[ParityReport], made: datetime | None = None, refused: Sequence[Exception] = ()
) -> str:
    """Return the page.

    Args:
        reports: at least one.
        made: the date on the page; None for now.
        refused: errors of artifacts that could not be verified.
    """
    every = len(reports) + len(refused)
    level = 1 if every == 1 else 2
    failed = sum(not report.passed for report in reports) + len(refused)
    summary = f"{failed} of {every} artifacts failed" if failed else f"All {every} artifacts passed"
    title = f"{Path(reports[0].artifact).name}: parity {'failed' if failed else 'passed'}" if level == 1 else summary
    context = {
        "title": title,
        "headline": summary,
        "passed": not failed,
        "several": every > 1,
        "refused": [replace_invisible(str(error)) for error in refused],
        "sections": [_section(report, f"a{number}", level) for number, report in enumerate(reports, start=1)],
        "glossary": GLOSSARY,
    }
    return render("parity.html.jinja", context, made)


def headline(report: ParityReport) -> str:
    """Return the result as a sentence."""
    name = Path(report.artifact).name
    network = report.float64_name.startswith("the network")
    model = "the network" if network else report.float64_name.removesuffix(" in float64")
    if report.passed:
        return f"{name} returns what {model} returns"
    if all(row.passed for row in report.comparisons):
        return f"{name} failed the check"
    return f"{name} does not return what {model} returns"


def sentences(report: ParityReport) -> tuple[str, ...]:
    """Return the reasons of the result: the input with the largest error, and the layer where it diverges."""
    rows, failed = report.comparisons, [row for row in report.comparisons if not row.passed]
    lines: list[str] = []
    if not rows:
        lines.append("Nothing was compared.")
    elif failed:
        worst = max(failed, key=lambda row: row.budget_used)
        much = (
            "NaN or infinity differ from the reference, or the shape is wrong"
            if math.isinf(worst.budget_used)
            else f"its error is {times(worst.budget_used)} the budget"
        )
        lines.append(
            f"{len(failed)} of {len(rows)} comparisons fail. The worst is {worst.input} ({worst.output}): {much}."
        )
    else:
        nearest = max(rows, key=lambda row: row.budget_used)
        within = f"All {len(rows)} comparisons are" if len(rows) > 1 else "The one comparison is"
        lines.append(f"{within} within budget. {nearest.input} uses the most: {budget_percent(nearest.budget_used)}.")
        if not report.passed:
            placement = report.placement
            fallback = f"{len(placement.fallback_nodes)} of {placement.nodes} nodes did not run on {placement.device}"
            reason = f"The check failed because {fallback}." if placement.fallback_nodes else "The notes say why."
            lines.append(reason)
    if report.localization is not None and report.localization.first is not None:
        lines.append(f"It {report.localization.summary}.")
    return tuple(lines)


def _section(report: ParityReport, name: str, level: int) -> dict[str, Any]:
    """Return the variables of one artifact's section, whose headings are one level below `level`."""
    baseline = report.float32_name
    outputs = dict.fromkeys(row.output for row in report.comparisons)
    rows = [[row for row in report.comparisons if row.output == output] for output in outputs]
    clips = _clips(report, name)
    found = report.localization
    contents = (
        ("notes", "Notes", report.notes),
        ("inputs", "Error by input", True),
        ("numbers", "Error of every value", report.histograms),
        ("layers", "Error by layer", found),
        ("classes", "Highest classes", clips),
        ("bits", "Determinism", report.determinism),
        ("against", "Compared with", report.against),
        ("method", "Method", True),
        ("where", "Environment and files", True),
    )
    return {
        "id": name,
        "level": level,
        "report": report,
        "headline": headline(report),
        "sentences": sentences(report),
        "facts": _facts(report),
        "hashes": [(f"SHA-256 of {file}", digest) for file, digest in report.hashes.items()],
        "contents": [(key, title) for key, title, content in contents if content],
        "columns": ("float64", baseline, "artifact"),
        "inputs": [input_figure(row, f"{name}-t-inputs{index}", baseline) for index, row in enumerate(rows)],
        "histograms": [
            histogram_figure(histogram, f"{name}-t-numbers{index}", baseline)
            for index, histogram in enumerate(report.histograms)
        ],
        "layers": None if found is None else layer_figure(found, f"{name}-t-layers", baseline),
        "clips": [clip for clip in clips if clip.frames],
        "other_clips": [clip for clip in clips if not clip.frames],
        "determinism": _determinism(report, f"{name}-t-bits"),
        "against": _against(report, f"{name}-t-against"),
    }


def _facts(report: ParityReport) -> tuple[tuple[str, str], ...]:
    placement = report.placement
    nodes = f"{count(placement.nodes, 'node')} on {placement.device}"
    if placement.fallback_nodes:
        nodes += f", {len(placement.fallback_nodes)} of them on another device"
    agreement = (
        "the outputs are not classes"
        if report.top1_agreement is None
        else f"the same as float64's on {100 * report.top1_agreement:.3g} % of inputs"
    )
    raised = ", ".join(f"{layer} in {kind} ({gain:+.1f} dB)" for layer, (kind, gain) in report.raised_layers.items())
    return (
        ("Artifact", report.artifact),
        *((("Manifest", report.provenance),) if report.provenance else ()),
        ("Engine", f"{report.engine}; {nodes}"),
        ("Reference", report.float64_name),
        ("Tolerance", report.tolerance),
        *((("Accuracy", str(report.held_out)),) if report.held_out else ()),
        *((("Structure", str(report.structure)),) if report.structure else ()),
        *((("Raised layers", raised),) if raised else ()),
        ("Highest class", agreement),
        ("Time", describe_phases(report.seconds)),
    )


def _clips(report: ParityReport, name: str) -> tuple[Clip, ...]:
    """Return every input that has classes or frames, in the order of the report."""
    shown = {clip.input: clip for clip in report.previews}
    ranked: dict[str, list[Ranking]] = {}
    for ranking in report.rankings:
        ranked.setdefault(ranking.input, []).append(ranking)
    clips: list[Clip] = []
    for index, title in enumerate(dict.fromkeys((*ranked, *shown))):
        tables = tuple(
            _classes(ranking, f"{name}-t-classes{index}-{number}")
            for number, ranking in enumerate(ranked.get(title, ()))
        )
        if title in shown:
            frames, (width, height) = thumbnails(shown[title])
            numbers = [str(number) for number in shown[title].numbers]
            listed = f"{', '.join(numbers[:-1])} and {numbers[-1]}" if len(numbers) > 1 else "".join(numbers)
            clips.append(Clip(title, tables, frames, width, height, listed))
        else:
            clips.append(Clip(title, tables))
    return tuple(clips)


def _classes(ranking: Ranking, name: str) -> Classes:
    columns = (ranking.float64, ranking.float32, ranking.artifact)
    texts = iter(format_scores([score for column in columns for _, score in column]))
    cells = [
        [
            Cell(number, next(texts), number != expected)
            for (number, _), (expected, _) in zip(column, ranking.float64, strict=True)
        ]
        for column in columns
    ]
    rows = tuple(zip(*cells, strict=True))
    return Classes(name, ranking.output, not any(row[-1].differs for row in rows), rows)


def _determinism(report: ParityReport, name: str) -> Table | None:
    if not report.determinism:
        return None
    rows = tuple(
        Row((found.condition, "the same bits" if found.identical else "other bits", error(found.max_abs_diff)))
        for found in report.determinism
    )
    return Table(name, "Bits of repeated runs", ("varied", "output", "largest difference"), rows, (2,))


def _against(report: ParityReport, name: str) -> dict[str, Any] | None:
    """Return the variables of the comparison with another engine or file."""
    if report.against is None:
        return None
    differences = [row.max_abs_diff for row in report.comparisons if row.max_abs_diff is not None]
    summary = f"differ by at most {error(max(differences))}" if differences else "have no outputs in common"
    rows = tuple(
        Row(
            (
                row.input,
                row.output,
                str(row.batch),
                error(row.max_error),
                budget_percent(row.budget_used),
                "pass" if row.passed else "FAIL",
            ),
            not row.passed,
        )
        for row in report.against_comparisons
    )
    headings = ("input", "output", "batch", "max error", "budget used", "result")
    title = f"Errors of {report.against}, relative to float64"
    table = Table(name, title, headings, rows, (2, 3, 4))
    return {"summary": f"The artifact and {report.against} {summary}.", "table": table}
