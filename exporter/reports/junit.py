"""Parity reports as JUnit XML, which every CI shows: a suite per artifact, a case per comparison."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from exporter.output_targets import write_file
from exporter.reports.formatting import replace_invisible
from exporter.results import Comparison, ParityReport


def write_junit(path: Path, reports: Sequence[ParityReport], refused: Sequence[Exception] = ()) -> None:
    """Write the file.

    Raises:
        OutputError: it cannot be written.
    """
    write_file(path, junit(reports, refused), "--junit")


def junit(reports: Sequence[ParityReport], refused: Sequence[Exception] = ()) -> bytes:
    """Return the XML, UTF-8. A report that failed for another reason than a comparison has a case `result`.

    The errors of artifacts that could not be verified are a suite of their own.
    """
    root = ET.Element("testsuites", name="verify parity")
    for report in reports:
        failed = sum(not row.passed for row in report.comparisons)
        otherwise = not report.passed and not failed
        suite = ET.SubElement(
            root,
            "testsuite",
            name=replace_invisible(f"{report.artifact} in {report.engine}"),
            tests=str(len(report.comparisons) + otherwise),
            failures=str(failed + otherwise),
            errors="0",
            time=f"{sum(report.seconds.values()):.3f}",
        )
        for row in report.comparisons:
            name = f"{row.input}, {row.output}, batch {row.batch}"
            case = ET.SubElement(
                suite, "testcase", classname=replace_invisible(report.artifact), name=replace_invisible(name)
            )
            message = _message(row)
            if not row.passed:
                ET.SubElement(case, "failure", message=message).text = replace_invisible("\n".join(_reasons(report)))
            else:
                ET.SubElement(case, "system-out").text = message
        if otherwise:
            case = ET.SubElement(suite, "testcase", classname=replace_invisible(report.artifact), name="result")
            ET.SubElement(case, "failure", message="failed").text = replace_invisible("\n".join(_reasons(report)))
    add_refused(root, refused)
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def add_refused(root: ET.Element, refused: Sequence[Exception]) -> None:
    """Add a suite with an error for each artifact that could not be checked."""
    if not refused:
        return
    number = str(len(refused))
    suite = ET.SubElement(root, "testsuite", name="refused", tests=number, failures="0", errors=number, time="0")
    for error in refused:
        name = replace_invisible(str(error).partition(": ")[0])
        case = ET.SubElement(suite, "testcase", classname="refused", name=name)
        ET.SubElement(case, "error", message=type(error).__name__).text = replace_invisible(str(error))


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
    return [f"tolerance: {report.tolerance}", *accuracy, *located, *report.notes]
