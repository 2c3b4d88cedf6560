"""The one loop that falls back: write a candidate, check its parity, accept it or take the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from exporter.errors import CheckFailedError
from exporter.results import ParityReport

C = TypeVar("C")
W = TypeVar("W")


class ParityFailedError(CheckFailedError):
    """No candidate of an artifact passed parity; nothing was published."""

    def __init__(self, reports: tuple[ParityReport, ...], message: str | None = None) -> None:
        names = ", ".join(Path(report.artifact).name for report in reports if not report.passed)
        super().__init__(
            message or f"parity failed for {names}; nothing was published (--no-verify publishes without the check)"
        )
        self.reports = reports


def first_accepted(
    candidates: Iterable[C],
    write: Callable[[C, tuple[C, ...]], W],
    verify: Callable[[W], ParityReport | None] | None,
) -> tuple[W, ParityReport | None]:
    """Return the first candidate whose file passes parity, and its report.

    Args:
        candidates: best first.
        write: (candidate, those that failed before it) -> what was written.
        verify: checks what was written; it returns None where there is nothing to check. Without it the first candidate
            is accepted.

    Raises:
        ParityFailedError: none passes; it carries the last one's report.
    """
    rejected: list[C] = []
    report: ParityReport | None = None
    for candidate in candidates:
        written = write(candidate, tuple(rejected))
        report = None if verify is None else verify(written)
        if report is None or report.passed:
            return written, report
        rejected.append(candidate)
    assert report is not None, "no candidates"
    raise ParityFailedError((report,))
