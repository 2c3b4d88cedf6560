"""`verify parity --html`: the verdicts as one page. What it says and in which order; how it looks is the templates'."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from exporter.reports.formatting import GLOSSARY, error, scores, share, times
from exporter.reports.html import Row, Table, render, thumbnails
from exporter.reports.parity_charts import Figure, histogram_part, input_part, layer_part
from exporter.results import ParityReport, Ranking


@dataclass(frozen=True)
class Cell:
    """A class and its score, and whether another class stands there in the truth."""

    number: int
    score: str
    differs: bool


@dataclass(frozen=True)
class Classes:
    """The highest classes of one output: five rows of truth, reference, artifact."""

    id: str
    output: str
    same: bool
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Clip:
    """An input with its classes, and its frames if it is a real clip."""

    name: str
    tables: tuple[Classes, ...]
    frames: tuple[str, ...] = ()
    width: int = 0
    height: int = 0
    numbers: str = ""


@dataclass(frozen=True)
class Against:
    """What the artifact was held against beside the truth."""

    summary: str
    table: Table


@dataclass(frozen=True)
class ArtifactSection:
    """One artifact's part of the page."""

    id: str
    level: int
    report: ParityReport
    headline: str
    sentences: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    hashes: tuple[tuple[str, str], ...]
    contents: tuple[tuple[str, str], ...]
    columns: tuple[str, str, str]
    inputs: tuple[Figure, ...]
    histograms: tuple[Figure, ...]
    layers: Figure | None
    clips: tuple[Clip, ...]
    drawn: tuple[Clip, ...]
    determinism: Table | None
    against: Against | None


@dataclass(frozen=True)
class Page:
    """The whole page."""

    title: str
    headline: str
    passed: bool
    views: tuple[ArtifactSection, ...]
    words: tuple[tuple[str, str], ...]


def parity_page(reports: Sequence[ParityReport], made: datetime | None = None) -> str:
    """Return the page.

    Args:
        reports: the verdicts, at least one.
        made: when; now if not told.
    """
    return render("parity.html.jinja", {"page": view_of(reports)}, made)


def view_of(reports: Sequence[ParityReport]) -> Page:
    """Return what the page shows."""
    level = 1 if len(reports) == 1 else 2
    views = tuple(_view(report, f"a{number}", level) for number, report in enumerate(reports, start=1))
    passed = sum(report.passed for report in reports)
    headline = (
        f"All {len(reports)} artifacts answer as they should"
        if passed == len(reports)
        else f"{len(reports) - passed} of {len(reports)} artifacts failed"
    )
    title = f"{Path(reports[0].artifact).name}: parity {'passed' if passed else 'failed'}" if level == 1 else headline
    return Page(title, headline, passed == len(reports), views, GLOSSARY)


def headline(report: ParityReport) -> str:
    """Return the verdict as a sentence that stands alone."""
    name = Path(report.artifact).name
    model = "the network" if report.truth.startswith("the network") else report.truth.removesuffix(" in float64")
    if report.passed:
        return f"{name} answers as {model} does"
    if all(row.passed for row in report.comparisons):
        return f"{name} failed the check"
    return f"{name} does not answer as {model} does"


def sentences(report: ParityReport) -> tuple[str, ...]:
    """Return what the verdict rests on, in plain words: how near or how far, and where."""
    rows, failed = report.comparisons, [row for row in report.comparisons if not row.passed]
    reported: list[str] = []
    if not rows:
        reported.append("Nothing was compared.")
    elif failed:
        worst = max(failed, key=lambda row: row.budget_used)
        much = (
            "it has NaN or infinity where the reference has none, or none where it has, or the wrong shape"
            if math.isinf(worst.budget_used)
            else f"its error is {times(worst.budget_used)} what is allowed"
        )
        reported.append(
            f"{len(failed)} of {len(rows)} comparisons fail. The worst is {worst.input} ({worst.output}): {much}."
        )
    else:
        nearest = max(rows, key=lambda row: row.budget_used)
        within = f"All {len(rows)} comparisons are" if len(rows) > 1 else "The one comparison is"
        reported.append(
            f"{within} within budget. Nearest to it is {nearest.input}, with {share(nearest.budget_used)} used."
        )
        if not report.passed:
            reported.append(
                f"It failed because {len(report.placement.fallback_nodes)} of {report.placement.nodes} nodes ran on another "
                f"device than {report.placement.device}."
                if report.placement.fallback_nodes
                else "It failed for another reason: see the notes."
            )
    if report.localization is not None and report.localization.first is not None:
        reported.append(f"It {report.localization.summary}.")
    return tuple(reported)


def _view(report: ParityReport, name: str, level: int) -> ArtifactSection:
    outputs = tuple(dict.fromkeys(row.output for row in report.comparisons))
    clips = _clips(report, name)
    layers = (
        None if report.localization is None else layer_part(report.localization, f"{name}-t-layers", report.reference)
    )
    contents = [
        ("notes", "Notes", bool(report.notes)),
        ("inputs", "Error by input", True),
        ("numbers", "Error of every number", bool(report.distributions)),
        ("layers", "Error by layer", layers is not None),
        ("classes", "Highest classes", bool(clips)),
        ("bits", "Determinism", bool(report.determinism)),
        ("against", "Held against", report.against is not None),
        ("judged", "How it was judged", True),
        ("where", "Environment and files", True),
    ]
    return ArtifactSection(
        id=name,
        level=level,
        report=report,
        headline=headline(report),
        sentences=sentences(report),
        facts=_facts(report),
        hashes=tuple((f"SHA-256 of {name}", digest) for name, digest in report.hashes.items()),
        contents=tuple((key, title) for key, title, there in contents if there),
        columns=("truth", report.reference, "artifact"),
        inputs=tuple(
            input_part(
                [row for row in report.comparisons if row.output == output], f"{name}-t-inputs{place}", report.reference
            )
            for place, output in enumerate(outputs)
        ),
        histograms=tuple(
            histogram_part(found, f"{name}-t-numbers{place}", report.reference)
            for place, found in enumerate(report.distributions)
        ),
        layers=layers,
        clips=tuple(clip for clip in clips if clip.frames),
        drawn=tuple(clip for clip in clips if not clip.frames),
        determinism=_determinism(report, f"{name}-t-bits"),
        against=_against(report, f"{name}-t-against"),
    )


def _facts(report: ParityReport) -> tuple[tuple[str, str], ...]:
    place = report.placement
    where = f"{place.nodes} nodes on {place.device}"
    if place.fallback_nodes:
        where += f", {len(place.fallback_nodes)} of them elsewhere"
    agreement = (
        "no classes"
        if report.top1_agreement is None
        else f"the truth's on {100 * report.top1_agreement:.3g} % of inputs"
    )
    took = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in report.seconds.items())
    return (
        ("Artifact", report.artifact),
        ("Runtime", f"{report.runtime}; {where}"),
        ("Truth", report.truth),
        ("Tolerance", report.tolerance),
        ("Highest class", agreement),
        ("Time", took),
    )


def _clips(report: ParityReport, name: str) -> tuple[Clip, ...]:
    """Return every input that has classes or frames, in the order it was drawn."""
    shown = {clip.input: clip for clip in report.shown}
    ranked: dict[str, list[Ranking]] = {}
    for ranking in report.rankings:
        ranked.setdefault(ranking.input, []).append(ranking)
    reported: list[Clip] = []
    for place, title in enumerate(dict.fromkeys((*ranked, *shown))):
        tables = tuple(
            _classes(ranking, f"{name}-t-classes{place}-{number}")
            for number, ranking in enumerate(ranked.get(title, ()))
        )
        if title in shown:
            frames, (width, height) = thumbnails(shown[title])
            numbers = [str(number) for number in shown[title].numbers]
            listed = f"{', '.join(numbers[:-1])} and {numbers[-1]}" if len(numbers) > 1 else "".join(numbers)
            reported.append(Clip(title, tables, frames, width, height, listed))
        else:
            reported.append(Clip(title, tables))
    return tuple(reported)


def _classes(ranking: Ranking, name: str) -> Classes:
    columns = (ranking.truth, ranking.reference, ranking.artifact)
    reported = scores([score for column in columns for _, score in column])
    texts = [reported[start : start + len(ranking.truth)] for start in range(0, len(reported), len(ranking.truth))]
    rows = tuple(
        tuple(
            Cell(column[place][0], text[place], column[place][0] != ranking.truth[place][0])
            for column, text in zip(columns, texts, strict=True)
        )
        for place in range(len(ranking.truth))
    )
    return Classes(name, ranking.output, not any(row[-1].differs for row in rows), rows)


def _determinism(report: ParityReport, name: str) -> Table | None:
    if not report.determinism:
        return None
    rows = tuple(
        Row((found.condition, "the same bits" if found.identical else "other bits", error(found.largest)))
        for found in report.determinism
    )
    return Table(
        name, "Whether a run gives the same bits again", ("varied", "answer", "largest difference"), rows, (2,)
    )


def _against(report: ParityReport, name: str) -> Against | None:
    if report.against is None:
        return None
    distances = [row.max_abs_diff for row in report.comparisons if row.max_abs_diff is not None]
    apart = f"are at most {error(max(distances))} apart" if distances else "have no answers in common"
    table = Table(
        name,
        f"Errors of {report.against} against the truth",
        ("input", "output", "batch", "max error", "budget used", "verdict"),
        tuple(
            Row(
                (
                    row.input,
                    row.output,
                    str(row.batch),
                    error(row.max_error),
                    share(row.budget_used),
                    "pass" if row.passed else "FAIL",
                ),
                not row.passed,
            )
            for row in report.against_comparisons
        ),
        (2, 3, 4),
    )
    return Against(f"The artifact and {report.against} {apart}.", table)
