"""What `c3d-export sign` signed: for people, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console

from exporter.reports.console import print_field, print_notes
from exporter.reports.formatting import escape
from models.errors import count

if TYPE_CHECKING:
    from exporter.workflows.sign import SignResult


def print_signed(result: SignResult, console: Console) -> None:
    """Print each manifest that was signed, what the signature covers, and the key."""
    for row in result.artifacts:
        weights = "" if row.tensors is None else f", {count(row.tensors, 'weight')}"
        replaced = "" if row.replaced is None else f"; replaces the signature by {row.replaced}"
        print_field("signed", f"{escape(row.manifest)}: {count(row.files, 'file')}{weights}{escape(replaced)}", console)
    print_notes(result.notes, console)
    print_field("key", f"{escape(result.public_key)}, for --verify-key", console)


def signed_to_dict(result: SignResult) -> dict[str, Any]:
    """Return the public key, and what was signed."""
    return asdict(result)
