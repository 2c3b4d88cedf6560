"""The result of an export, for people and as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.console import Console

from exporter.artifacts.files import manifest_path
from exporter.reports.console import print_duration, print_field, print_notes, print_raised, print_wrote
from exporter.reports.json_report import parity_to_dict
from exporter.reports.parity import print_reports
from exporter.signing import describe_signature
from models.text import format_bytes

if TYPE_CHECKING:
    from exporter.workflows.export import ExportResult


def print_export(result: ExportResult, console: Console) -> None:
    """Print what was built, the parity reports, and where the files are."""
    print_field("network", result.network, console)
    print_notes(result.notes, console)
    console.print()
    if result.reports:
        print_reports(result.reports, console)
        console.print()
    for artifact in result.artifacts:
        for entry in artifact.manifest.files:
            path = artifact.path.with_name(entry.path)
            print_wrote(path, f"  {format_bytes(entry.bytes)}  SHA-256 {entry.sha256[:16]}…", console)
        signed = artifact.manifest.signed
        by = "" if signed is None else f", {describe_signature(signed, checked=True)}"
        print_wrote(manifest_path(artifact.path), f"  (manifest{by})", console)
    print_duration(result.seconds, console)
    if not result.reports:
        for artifact in result.artifacts:
            print_raised(artifact.manifest.raised_layers, console)
        print_field(
            "result", "not verified (--no-verify); check the artifact with `verify parity` before you use it", console
        )


def export_to_dict(result: ExportResult) -> dict[str, Any]:
    """Return the artifacts with their manifests, and the parity reports (null without verification)."""
    return {
        "network": result.network,
        "artifacts": [
            {
                "path": str(artifact.path),
                "files": [str(path) for path in artifact.files],
                "manifest": json.loads(artifact.manifest.to_json()),
            }
            for artifact in result.artifacts
        ],
        "parity": parity_to_dict(result.reports) if result.reports else None,
        "notes": list(result.notes),
        "seconds": result.seconds,
    }
