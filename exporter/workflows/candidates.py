"""The one loop that falls back: write a candidate, check its parity, accept it or take the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from exporter.errors import CheckFailedError
from exporter.formats.base import Candidate, WriteResult
from exporter.results import ParityReport


class ParityFailedError(CheckFailedError):
    """No candidate of an artifact passed parity; nothing was published."""

    def __init__(self, reports: tuple[ParityReport, ...], message: str | None = None) -> None:
        names = ", ".join(Path(report.artifact).name for report in reports if not report.passed)
        super().__init__(
            message or f"parity failed for {names}; nothing was published (--no-verify publishes without the check)"
        )
        self.reports = reports


def first_accepted(
    candidates: Iterable[Candidate],
    write: Callable[[Candidate, tuple[str, ...]], WriteResult],
    verify: Callable[[WriteResult], ParityReport] | None,
) -> tuple[WriteResult, ParityReport | None]:
    """Return the first candidate whose file passes parity, and its report.

    Args:
        candidates: best first.
        write: (candidate, names of those that failed before it) -> what was written.
        verify: checks what was written; None accepts the first candidate without a check.

    Raises:
        ParityFailedError: none passes; it carries the last one's report.
    """
    rejected: list[str] = []
    report: ParityReport | None = None
    for candidate in candidates:
        written = write(candidate, tuple(rejected))
        if verify is None:
            return written, None
        report = verify(written)
        if report.passed:
            return written, report
        rejected.append(candidate.name)
    assert report is not None, "no candidates"
    raise ParityFailedError((report,))
