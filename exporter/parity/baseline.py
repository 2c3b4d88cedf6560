"""Errors kept from one verification to the next: `--baseline` fails when an error grew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from exporter.errors import BadInputError, UsageError
from exporter.output_targets import write_file
from exporter.results import ParityReport
from models.paths import read_small_file

VERSION = 1
MAX_BYTES = 1 << 26
"""Of the file; a comparison takes 150 bytes."""
EPS = 2.0**-23
"""Errors below one unit in the last place of the largest output are noise, so their growth is not checked."""


class Key(msgspec.Struct, frozen=True):
    """What identifies a comparison: the artifact's file name, engine and device, input, output, batch size."""

    artifact: str
    engine: str = msgspec.field(name="runtime")
    input: str
    output: str
    batch: int


class Entry(Key, frozen=True):
    """The largest error of a comparison."""

    max_error: float

    @property
    def key(self) -> Key:
        """What identifies the comparison."""
        return Key(self.artifact, self.engine, self.input, self.output, self.batch)


class Baseline(msgspec.Struct, frozen=True):
    """The errors of a verification."""

    version: int
    entries: tuple[Entry, ...]


def save_baseline(path: Path, reports: Sequence[ParityReport]) -> None:
    """Write the errors of reports.

    Raises:
        OutputError: the file cannot be written.
    """
    entries = tuple(entry for entry, _ in _largest(reports).values())
    text = msgspec.json.format(msgspec.json.encode(Baseline(VERSION, entries)), indent=2)
    write_file(path, text + b"\n", "--save-baseline")


def read_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        BadInputError: no such file, or not a baseline.
    """
    try:
        baseline = msgspec.json.decode(read_small_file(path, "baseline", MAX_BYTES, BadInputError), type=Baseline)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInputError(f"--baseline {path}: not a baseline: {error}") from error
    if baseline.version != VERSION:
        raise BadInputError(f"--baseline {path}: version {baseline.version}; this release reads version {VERSION}")
    return baseline


def check_growth(max_growth: float) -> None:
    """Refuse an invalid factor before anything runs.

    Raises:
        UsageError: below 1, or not a finite number.
    """
    if not 1 <= max_growth < float("inf"):
        raise UsageError(f"--max-growth must be at least 1 and finite (got {max_growth:g})")


def check_baseline(baseline: Baseline, max_growth: float, reports: Sequence[ParityReport]) -> tuple[ParityReport, ...]:
    """Return the reports, failed where an error grew to more than `max_growth` times the baseline's.

    Comparisons that are not in the baseline are noted; a report of which none is there fails. Of an input that was
    generated several times, the largest errors are compared.

    Raises:
        UsageError: see `check_growth`.
    """
    check_growth(max_growth)
    known = {entry.key: entry.max_error for entry in baseline.entries}
    checked: list[ParityReport] = []
    for report in reports:
        found = _largest([report])
        grown = [
            f"{key.input}, {key.output}, batch {key.batch}: error {entry.max_error:.1e}, was {known[key]:.1e} "
            f"(at most {max_growth:g} times is allowed)"
            for key, (entry, scale) in found.items()
            if key in known and not entry.max_error <= max_growth * max(known[key], EPS * scale)
        ]
        new = len(found.keys() - known.keys())
        notes = [f"grew since the baseline: {line}" for line in grown]
        if new == len(found):
            notes.append("the baseline has none of these comparisons, so it fails: another artifact or other inputs")
        elif new:
            notes.append(f"{new} of {len(found)} comparisons are not in the baseline")
        passed = report.passed and not grown and new < len(found)
        checked.append(replace(report, notes=(*report.notes, *notes), passed=passed))
    return tuple(checked)


def _largest(reports: Sequence[ParityReport]) -> dict[Key, tuple[Entry, float]]:
    """Return the largest error of each comparison, with the largest absolute value of its float64 output."""
    found: dict[Key, tuple[Entry, float]] = {}
    for report in reports:
        engine = f"{report.engine.split()[0]} {report.placement.device}"
        for row in report.comparisons:
            entry = Entry(Path(report.artifact).name, engine, row.input, row.output, row.batch, row.max_error)
            before = found.get(entry.key)
            if before is None or not entry.max_error <= before[0].max_error:
                found[entry.key] = (entry, row.scale)
    return found
