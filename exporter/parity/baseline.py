"""Errors kept from one verification to the next: a check that fails when they grow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from exporter.errors import BadInputError, OutputError, UsageError
from exporter.results import Comparison, ParityReport

VERSION = 1
EPS = 2.0**-23
"""Errors below one unit in the last place of the largest output are noise, whatever they grow from."""


@dataclass(frozen=True)
class Entry:
    """The error of one comparison: the artifact's file name, engine and device, input, output, batch; largest error."""

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
    entries = tuple(entry for entry, _ in _entries(reports))
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


def check_growth(max_growth: float) -> None:
    """Refuse a factor that makes no sense, before anything runs.

    Raises:
        UsageError: below 1, or not a number.
    """
    if not 1 <= max_growth < float("inf"):
        raise UsageError(f"--max-growth must be at least 1 and finite (got {max_growth:g})")


def check_baseline(baseline: Baseline, max_growth: float, reports: Sequence[ParityReport]) -> tuple[ParityReport, ...]:
    """Return the reports, failed where an error grew to more than `growth` times the baseline's.

    A comparison that the baseline does not know is noted; a report of which it knows none fails. Where one input was
    drawn several times, the largest errors are held against each other.

    Raises:
        UsageError: see `check_growth`.
    """
    check_growth(max_growth)
    known = {_key(entry): entry.max_error for entry in baseline.entries}
    judged: list[ParityReport] = []
    for report in reports:
        worst = {_key(entry): (entry.max_error, scale) for entry, scale in _entries([report])}
        grown = [
            f"{key[2]}, {key[3]}, batch {key[4]}: error {error:.1e}, was {known[key]:.1e} "
            f"(at most {max_growth:g} times is allowed)"
            for key, (error, scale) in worst.items()
            if key in known and not error <= max_growth * max(known[key], EPS * scale)
        ]
        new = len(worst.keys() - known.keys())
        notes = [f"grew since the baseline: {line}" for line in grown]
        if new == len(worst):
            notes.append("the baseline knows none of these comparisons, so it fails: another artifact or other inputs")
        elif new:
            notes.append(f"{new} of {len(worst)} comparisons are not in the baseline")
        passed = report.passed and not grown and new < len(worst)
        judged.append(replace(report, notes=(*report.notes, *notes), passed=passed))
    return tuple(judged)


def _entries(reports: Sequence[ParityReport]) -> list[tuple[Entry, float]]:
    """Return one entry for each key, the largest error of it, with the largest number of the truth beside it."""
    found: dict[tuple[str, str, str, str, int], tuple[Entry, float]] = {}
    for report in reports:
        for row in report.comparisons:
            entry = _entry(report, row)
            before = found.get(_key(entry))
            if before is None or not entry.max_error <= before[0].max_error:
                found[_key(entry)] = (entry, row.scale)
    return list(found.values())


def _entry(report: ParityReport, row: Comparison) -> Entry:
    engine = f"{report.runtime.split()[0]} {report.placement.device}"
    return Entry(Path(report.artifact).name, engine, row.input, row.output, row.batch, row.max_error)


def _key(entry: Entry) -> tuple[str, str, str, str, int]:
    return (entry.artifact, entry.runtime, entry.input, entry.output, entry.batch)
