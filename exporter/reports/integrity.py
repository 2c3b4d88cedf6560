"""The results of `verify integrity`, for people, as JSON and as JUnit XML, and what `c3d-export sign` signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from exporter.output_targets import write_file
from exporter.reports.console import print_field, print_notes, print_result, print_text
from exporter.reports.junit import Case, Suite, suites_to_xml
from models.errors import count
from models.text import format_bytes

if TYPE_CHECKING:
    from exporter.workflows.integrity import CheckedFile, IntegrityReport
    from exporter.workflows.sign import SignResult


def print_integrity(reports: Sequence[IntegrityReport], console: Console) -> None:
    """Print each file of each artifact, what libraries read, and the result."""
    for number, report in enumerate(reports):
        if number:
            console.print()
        print_text(f"integrity of {report.artifact}", console)
        for file in report.files:
            _print_check(file.fault, _describe(file), console)
        if report.tensors is not None:
            print_field("weights", f"{report.tensors} compared with their own hashes", console)
        for row in report.weights:
            fault = f"{row.library}: {row.fault}" if row.fault else None
            _print_check(fault, f"{row.library} reads {row.tensors} weights, equal bit for bit", console)
        for fault in report.faults:
            _print_check(fault, "", console)
        if report.provenance:
            print_field("manifest", report.provenance, console)
        print_notes(report.notes, console)
        print_result(passed=report.passed, text=f" in {report.seconds:.1f} s", console=console)


def integrity_to_dict(reports: Sequence[IntegrityReport]) -> dict[str, Any]:
    """Return `passed` over all artifacts, and every report."""
    return {
        "passed": all(report.passed for report in reports),
        "reports": [asdict(report) | {"passed": report.passed} for report in reports],
    }


def write_integrity_junit(path: Path, reports: Sequence[IntegrityReport], refused: Sequence[Exception] = ()) -> None:
    """Write a suite per artifact, with a case per file, per library that read the weights, and one for the rest.

    Raises:
        OutputError: it cannot be written.
    """
    suites: list[Suite] = []
    for report in reports:
        checks = [(Path(file.path).name, file.fault) for file in report.files]
        checks += [(row.library, row.fault) for row in report.weights]
        checks.append(("manifest", "\n".join(report.faults)))
        cases = [Case(name, "failed" if fault else "", fault or None) for name, fault in checks]
        suites.append(Suite(report.artifact, report.artifact, cases, report.seconds))
    write_file(path, suites_to_xml("verify integrity", suites, refused), "--junit")


def _print_check(fault: str | None, passed: str, console: Console) -> None:
    """Print what is wrong, or what was checked."""
    print_field("FAIL" if fault else "ok", fault or passed, console, style="red" if fault else "")


def _describe(file: CheckedFile) -> str:
    return f"{file.path}  {format_bytes(file.bytes or 0)}  SHA-256 {str(file.sha256)[:16]}…"


def print_signed(result: SignResult, console: Console) -> None:
    """Print each manifest that was signed, what the signature covers, and the key."""
    for row in result.artifacts:
        weights = "" if row.tensors is None else f", {count(row.tensors, 'weight')}"
        replaced = "" if row.replaced is None else f"; replaces the signature by {row.replaced}"
        print_field("signed", f"{row.manifest}: {count(row.files, 'file')}{weights}{replaced}", console)
    print_notes(result.notes, console)
    print_field("key", f"{result.public_key}, for --verify-key", console)
