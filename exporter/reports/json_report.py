"""One JSON object for each result: what `--json` prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from exporter.bench.types import BenchReport
from exporter.results import ParityReport

if TYPE_CHECKING:
    from exporter.workflows.export import ExportResult
    from exporter.workflows.inspect import Inspection


def parity_to_dict(reports: Sequence[ParityReport]) -> dict[str, Any]:
    """Return the verdicts: `passed` over all, and every report."""
    reported = [asdict(report) for report in reports]
    for report in reported:
        del report["shown"]  # pictures are for pages
    return {"passed": all(report.passed for report in reports), "reports": reported}


def export_to_dict(exported: ExportResult) -> dict[str, Any]:
    """Return the artifacts with their manifests, and the verdicts (`parity` is null when none was asked for)."""
    return {
        "network": exported.network,
        "artifacts": [
            {
                "path": str(artifact.path),
                "files": [str(path) for path in artifact.files],
                "manifest": json.loads(artifact.manifest.to_json()),
            }
            for artifact in exported.artifacts
        ],
        "parity": parity_to_dict(exported.reports) if exported.reports else None,
        "notes": list(exported.notes),
        "seconds": exported.seconds,
    }


def bench_object(report: BenchReport) -> dict[str, Any]:
    """Return everything `bench` found; times are seconds, memory is bytes."""
    return {"complete": report.complete, **asdict(report)}


def inspection_object(inspection: Inspection) -> dict[str, Any]:
    """Return everything `inspect` found."""
    return msgspec.to_builtins(inspection)


def dump(value: dict[str, Any]) -> str:
    """Return the object as JSON text. Infinite errors become null, because JSON has no word for them."""
    return json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {key: _finite(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(member) for member in value]
    return value
