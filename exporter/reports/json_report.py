"""JSON text, and the objects that several commands print with `--json`: parity reports and errors."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from exporter.errors import C3DExportError, CheckFailedError
from exporter.results import ParityReport
from models.text import is_visible


def error_to_dict(error: C3DExportError) -> dict[str, Any]:
    """Return an error, with the parity reports that it carries."""
    reports = error.reports if isinstance(error, CheckFailedError) else ()
    return {"error": error.to_dict()} | ({"parity": parity_to_dict(reports)} if reports else {})


def add_errors(result: dict[str, Any], refused: Sequence[C3DExportError]) -> dict[str, Any]:
    """Return a result with the errors of files that were refused: it is then not passed."""
    return result | {"passed": False, "errors": [error.to_dict() for error in refused]} if refused else result


def parity_to_dict(reports: Sequence[ParityReport]) -> dict[str, Any]:
    """Return `passed` over all artifacts, and every report."""
    members = [asdict(report) for report in reports]
    for report in members:
        del report["previews"]  # frames of videos are for pages only
    return {"passed": all(report.passed for report in reports), "reports": members}


def dump(value: dict[str, Any], *, ascii_only: bool = False) -> str:
    """Return an object as JSON text. Infinities and NaN become null, because JSON cannot express them.

    What is not visible is escaped, also where JSON allows it: terminals obey some of it. The values are whole.

    Args:
        value: the object.
        ascii_only: escape all that is not ASCII, for an output in another encoding than UTF-8.
    """
    text = json.dumps(_finite(value), indent=2, ensure_ascii=ascii_only, allow_nan=False)
    return "\n".join(line if line.isascii() and line.isprintable() else _escaped(line) for line in text.split("\n"))


def _escaped(line: str) -> str:
    return "".join(letter if is_visible(letter) else json.dumps(letter)[1:-1] for letter in line)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(member) for member in value]
    return value
