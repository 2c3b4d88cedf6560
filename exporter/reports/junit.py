"""The verdicts as JUnit XML, which every CI shows: a suite per artifact, a case per comparison."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from exporter.errors import OutputError
from exporter.results import ParityReport


def write_junit(path: Path, reports: Sequence[ParityReport]) -> None:
    """Write the file.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        path.write_bytes(junit(reports))
    except OSError as error:
        raise OutputError(f"--junit {path}: cannot be written: {error.strerror}") from error


def junit(reports: Sequence[ParityReport]) -> bytes:
    """Return the XML, UTF-8. A report that failed for another reason than a comparison has a case `verdict` for it."""
    root = ET.Element("testsuites", name="verify parity")
    for report in reports:
        failed = sum(not row.passed for row in report.comparisons)
        otherwise = not report.passed and not failed
        suite = ET.SubElement(
            root,
            "testsuite",
            name=_text(f"{report.artifact} in {report.runtime}"),
            tests=str(len(report.comparisons) + otherwise),
            failures=str(failed + otherwise),
            errors="0",
            time=f"{sum(report.seconds.values()):.3f}",
        )
        for row in report.comparisons:
            name = f"{row.input}, {row.output}, batch {row.batch}"
            case = ET.SubElement(suite, "testcase", classname=_text(report.artifact), name=_text(name))
            reported = f"error {row.max_error:.3e}, budget {row.budget:.3e}, {row.budget_used:.3g} of it used"
            if not row.passed:
                ET.SubElement(case, "failure", message=reported).text = _text("\n".join(_reasons(report)))
            else:
                ET.SubElement(case, "system-out").text = reported
        if otherwise:
            case = ET.SubElement(suite, "testcase", classname=_text(report.artifact), name="verdict")
            ET.SubElement(case, "failure", message="failed").text = _text("\n".join(_reasons(report)))
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _reasons(report: ParityReport) -> list[str]:
    located = [report.localization.summary] if report.localization else []
    return [f"tolerance: {report.tolerance}", *located, *report.notes]


def _text(value: str) -> str:
    """Return text without what XML cannot hold."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in value)
