"""What a file is, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from exporter.reports.formatting import escape, format_bytes

if TYPE_CHECKING:
    from exporter.workflows.inspect import Inspection


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
        console.print(f"{escape(name):<{width}}{escape(value)}")
    for tensor in inspection.tensors:
        console.print(f"  {escape(str(tensor))}")
