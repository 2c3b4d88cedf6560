"""The one loop that falls back: write a candidate, check its parity, accept it or take the next."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from exporter.errors import CheckFailedError
from exporter.results import ParityReport
from models.errors import count

C = TypeVar("C")
W = TypeVar("W")


class ParityFailedError(CheckFailedError):
    """No candidate of an artifact passed parity; nothing was published."""

    def __init__(self, reports: tuple[ParityReport, ...], message: str | None = None) -> None:
        super().__init__(message or _describe(reports))
        self.reports = reports


def _describe(reports: tuple[ParityReport, ...]) -> str:
    """Return which artifacts failed: of those that are too inaccurate, how much, and what can be done."""
    failed = [report for report in reports if not report.passed]
    reasons = [reason for report in failed if (reason := _inaccuracy(report))]
    if failed and len(reasons) == len(failed):
        return f"{'; '.join(reasons)}; nothing was published"
    names = ", ".join(Path(report.artifact).name for report in failed)
    return f"parity failed for {names}; nothing was published (--no-verify publishes without the check)"


def _inaccuracy(report: ParityReport) -> str:
    """Return what an artifact below float32 lacks in accuracy; nothing where something else failed."""
    found = report.held_out
    if found is None or found.passed:
        return ""
    name, layers = Path(report.artifact).name, report.raised_layers
    raised = f", with {count(len(layers), 'layer')} raised to a higher precision" if layers else ""
    if found.snr_db < found.required_snr_db:
        finite = math.isfinite(found.snr_db)
        measured = f"reaches {found.snr_db:.1f} dB" if finite else "returns NaN or infinities"
        accept = f"accept less with --min-snr {math.floor(found.snr_db)}, " if found.snr_db >= 1 else ""
        return (
            f"{name} {measured} on {found.input} ({found.output}){raised}; {found.required_snr_db:g} dB are required: "
            f"{accept}calibrate on more videos of your own (--calibrate), or take another --precision"
        )
    assert found.top1 is not None
    assert found.required_top1 is not None
    return (
        f"{name}: the highest class is float64's on {found.top1:.1%} of "
        f"{count(found.clips, 'evaluation clip')}{raised}; "
        f"{found.required_top1:.1%} are required: accept less with --min-top1, require a higher --min-snr, or take "
        "another --precision"
    )


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
