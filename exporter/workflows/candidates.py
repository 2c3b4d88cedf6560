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
    worthwhile: Callable[[W], bool] | None = None,
) -> tuple[W, ParityReport | None]:
    """Return the first candidate whose file passes parity, and its report.

    Args:
        candidates: best first.
        write: (candidate, those that were rejected before it) -> what was written.
        verify: checks what was written; it returns None where there is nothing to check. Without it the first candidate
            is accepted.
        worthwhile: whether one that passes is to be accepted; without it every one is.

    Raises:
        ParityFailedError: none passes; it carries the last one's report.
    """
    rejected: list[C] = []
    failed: ParityReport | None = None
    for candidate in candidates:
        written = write(candidate, tuple(rejected))
        report = None if verify is None else verify(written)
        if report is not None and not report.passed:
            failed = report
        elif worthwhile is None or worthwhile(written):
            return written, report
        rejected.append(candidate)
    assert failed is not None, "no candidates"
    raise ParityFailedError((failed,))
