"""What a file is, for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console

from exporter.reports.console import print_field
from models.text import format_bytes

if TYPE_CHECKING:
    from exporter.workflows.inspect import Inspection

COPIED = ("file", "SHA-256", "command")
"""Values that people copy: not broken into lines, so that a terminal gives them back whole."""


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Print what a file is; its tensors last."""
    rows = {
        "file": f"{inspection.path}, {format_bytes(inspection.bytes)}",
        "type": inspection.kind,
        "SHA-256": inspection.sha256,
        **inspection.facts,
    }
    if inspection.integrity is not None:
        rows["integrity"] = (
            "this is the file that the manifest beside it describes"
            if inspection.integrity == "ok"
            else inspection.integrity
        )
    elif inspection.manifest is not None:
        rows["integrity"] = "not checked: there is no manifest beside the file, only the one inside it"
    if inspection.tensors:
        rows["tensors"] = str(len(inspection.tensors))
    width = max(map(len, rows)) + 2
    for name, value in rows.items():
        print_field(name, value, console, width=width, whole=name in COPIED)
    for tensor in inspection.tensors:
        print_field("", str(tensor), console, width=2, whole=True)


def inspection_to_dict(inspection: Inspection) -> dict[str, Any]:
    """Return everything that `inspect` found."""
    return msgspec.to_builtins(inspection)
