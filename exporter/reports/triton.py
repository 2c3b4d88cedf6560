"""What was written into a Triton model repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console

from exporter.reports.console import print_field, print_notes, print_wrote
from models.text import format_bytes

if TYPE_CHECKING:
    from exporter.triton.types import TritonResult


def triton_to_dict(result: TritonResult) -> dict[str, Any]:
    """Return the model's folder, its version, and the configuration's text."""
    return {
        "folder": str(result.folder),
        "name": result.folder.name,
        "version": result.version,
        "is_new": result.is_new,
        "backend": result.backend,
        "max_batch_size": result.max_batch_size,
        "files": [str(path) for path in result.files],
        "config": result.config,
        "notes": list(result.notes),
    }


def print_triton(result: TritonResult, console: Console) -> None:
    """Print what was written, and how the server is given it."""
    batches = f"batches of up to {result.max_batch_size}" if result.max_batch_size else "no batches of the server's"
    print_field("model", f"{result.folder.name}, version {result.version}, {result.backend}, {batches}", console)
    print_notes(result.notes, console)
    for path in result.files:
        print_wrote(path, f"  {format_bytes(path.stat().st_size)}", console)
    print_field("serve", f"tritonserver --model-repository={result.folder.parent}", console, whole=True)
