"""Errors kept from one verification to the next: a check that fails when they grow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from exporter.errors import BadInputError, OutputError, UsageError
from exporter.verdicts import Comparison, ParityReport

VERSION = 1
UNIT = 2.0**-23
"""Errors below one unit in the last place of the largest output are noise, whatever they grow from."""


@dataclass(frozen=True)
class Entry:
    """The error of one comparison: the artifact's file name, engine, input, output, batch; the largest error."""

    artifact: str
    runtime: str
    input: str
    output: str
    batch: int
    max_error: float


@dataclass(frozen=True)
class Baseline:
    """The errors of a verification."""

    version: int
    entries: tuple[Entry, ...]


def save_baseline(path: Path, reports: Sequence[ParityReport]) -> None:
    """Write the errors of passed reports.

    Raises:
        OutputError: the file cannot be written.
    """
    entries = tuple(_entry(report, row) for report in reports for row in report.comparisons)
    text = msgspec.json.format(msgspec.json.encode(Baseline(VERSION, entries)), indent=2)
    try:
        path.write_bytes(text + b"\n")
    except OSError as error:
        raise OutputError(f"--save-baseline {path}: cannot be written: {error.strerror}") from error


def read_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        BadInputError: no such file, or not a baseline.
    """
    try:
        baseline = msgspec.json.decode(path.read_bytes(), type=Baseline)
    except OSError as error:
        raise BadInputError(f"--baseline {path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"--baseline {path}: not a baseline: {error}") from error
    if baseline.version != VERSION:
        raise BadInputError(f"--baseline {path}: version {baseline.version}; this release reads version {VERSION}")
    return baseline


def hold_against(baseline: Baseline, growth: float, reports: Sequence[ParityReport]) -> tuple[ParityReport, ...]:
    """Return the reports, failed where an error grew to more than `growth` times the baseline's.

    A comparison that the baseline does not know is noted, and so is a baseline of which nothing was compared.

    Raises:
        UsageError: `growth` below 1.
    """
    if not growth >= 1:
        raise UsageError(f"--growth must be at least 1 (got {growth:g})")
    known = {_key(entry): entry.max_error for entry in baseline.entries}
    judged: list[ParityReport] = []
    for report in reports:
        grown: list[str] = []
        new = 0
        for row in report.comparisons:
            before = known.get(_key(_entry(report, row)))
            new += before is None
            if before is not None and row.max_error > growth * max(before, UNIT * row.scale):
                grown.append(
                    f"{row.input}, {row.output}, batch {row.batch}: error {row.max_error:.1e}, was {before:.1e} "
                    f"(at most {growth:g} times is allowed)"
                )
        notes = [f"grew since the baseline: {line}" for line in grown]
        if new == len(report.comparisons):
            notes.append("the baseline knows none of these comparisons, so it fails: another artifact or other inputs")
        elif new:
            notes.append(f"{new} of {len(report.comparisons)} comparisons are not in the baseline")
        passed = report.passed and not grown and new < len(report.comparisons)
        judged.append(replace(report, notes=(*report.notes, *notes), passed=passed))
    return tuple(judged)


def _entry(report: ParityReport, row: Comparison) -> Entry:
    engine = report.runtime.split()[0]
    error = row.max_error if row.max_error < float("inf") else -1.0
    return Entry(Path(report.artifact).name, engine, row.input, row.output, row.batch, error)


def _key(entry: Entry) -> tuple[str, str, str, str, int]:
    return (entry.artifact, entry.runtime, entry.input, entry.output, entry.batch)
