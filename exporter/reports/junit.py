"""Results as JUnit XML, which every CI shows: a suite per artifact, a case per comparison or file."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.output_targets import write_file
from exporter.reports.formatting import replace_invisible
from exporter.results import Comparison, ParityReport


@dataclass(frozen=True)
class Case:
    """A check: its name, what it found in a line, and why it failed; None if it passed."""

    name: str
    message: str
    failure: str | None


@dataclass(frozen=True)
class Suite:
    """The checks of an artifact, and how many seconds they took."""

    name: str
    artifact: str
    cases: Sequence[Case]
    seconds: float


def write_junit(path: Path, reports: Sequence[ParityReport], refused: Sequence[Exception] = ()) -> None:
    """Write parity reports.

    Raises:
        OutputError: the file cannot be written.
    """
    write_file(path, junit(reports, refused), "--junit")


def junit(reports: Sequence[ParityReport], refused: Sequence[Exception] = ()) -> bytes:
    """Return parity reports as XML. A report that failed for another reason than a comparison has a case `result`."""
    return suites_to_xml("verify parity", map(_make_suite, reports), refused)


def suites_to_xml(name: str, suites: Iterable[Suite], refused: Sequence[Exception]) -> bytes:
    """Return the XML, UTF-8. The errors of artifacts that could not be checked are a suite of their own."""
    root = ET.Element("testsuites", name=name)
    for suite in suites:
        failures = sum(case.failure is not None for case in suite.cases)
        element = _add_suite(root, suite.name, len(suite.cases), f"{suite.seconds:.3f}", failures=failures)
        for case in suite.cases:
            child = _add_case(element, suite.artifact, case.name)
            if case.failure is not None:
                ET.SubElement(child, "failure", message=case.message).text = replace_invisible(case.failure)
            elif case.message:
                ET.SubElement(child, "system-out").text = case.message
    element = _add_suite(root, "refused", len(refused), "0", errors=len(refused)) if refused else root
    for error in refused:
        case = _add_case(element, "refused", str(error).partition(": ")[0])
        ET.SubElement(case, "error", message=type(error).__name__).text = replace_invisible(str(error))
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _add_suite(root: ET.Element, name: str, tests: int, time: str, *, failures: int = 0, errors: int = 0) -> ET.Element:
    counts = {"tests": str(tests), "failures": str(failures), "errors": str(errors)}
    return ET.SubElement(root, "testsuite", {"name": replace_invisible(name), **counts, "time": time})


def _add_case(suite: ET.Element, artifact: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=replace_invisible(artifact), name=replace_invisible(name))


def _make_suite(report: ParityReport) -> Suite:
    reasons = "\n".join(_reasons(report))
    cases = [
        Case(f"{row.input}, {row.output}, batch {row.batch}", _message(row), None if row.passed else reasons)
        for row in report.comparisons
    ]
    if not report.passed and all(row.passed for row in report.comparisons):
        cases.append(Case("result", "failed", reasons))
    return Suite(f"{report.artifact} in {report.engine}", report.artifact, cases, sum(report.seconds.values()))


def _message(row: Comparison) -> str:
    if row.equal is not None:
        own = f"float32: {row.float32_max_error:.6f} do"
        return f"{row.equal:.6f} of the elements equal, {row.budget:.6f} may differ ({own})"
    if row.min_snr_db is not None:
        return f"signal to noise {row.snr_db:.1f} dB, at least {row.min_snr_db:g} dB; error {row.max_error:.3e}"
    return f"error {row.max_error:.3e}, budget {row.budget:.3e}, {row.budget_used:.3g} of it used"


def _reasons(report: ParityReport) -> list[str]:
    located = [report.localization.summary] if report.localization else []
    accuracy = [f"accuracy: {report.held_out}"] if report.held_out else []
    structure = [f"structure: {report.structure}"] if report.structure else []
    return [f"tolerance: {report.tolerance}", *accuracy, *structure, *located, *report.notes]
