"""The table of origins and the account of a conversion, for people and for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.markup import escape

from exporter.reports.console import size
from models.checkpoints.layouts import LAYOUTS

if TYPE_CHECKING:
    from exporter.workflows.convert import ConvertResult


def origins_object() -> dict[str, Any]:
    """Return every origin with its conventions."""
    return {
        "origins": [
            {
                "layout": row.name,
                "files": row.title,
                "pool5": row.pool5,
                "preprocessing": msgspec.to_builtins(row.preprocessing),
                "needs_layout": bool(row.disambiguation),
                "telling": row.disambiguation or None,
            }
            for row in LAYOUTS
        ]
    }


def print_origins(console: Console) -> None:
    """Print every origin: the files, how it is told, and its conventions."""
    for row in LAYOUTS:
        console.print(f"[bold]{escape(row.name)}[/]  {escape(row.title)}")
        reported = (
            f"name it: --layout {row.name}; {row.disambiguation}"
            if row.disambiguation
            else "recognised by names and shapes"
        )
        console.print(f"    layout         {escape(reported)}")
        console.print(f"    pool5          {row.pool5 or 'not reported by the names: symmetric, unless --pool5'}")
        recipe = row.preprocessing
        console.print(f"    preprocessing  {escape(recipe.describe() if recipe.name != 'unknown' else 'not reported')}")
    console.print(
        "\n`c3d-export inspect FILE` tells which of them a file is. docs/checkpoints.md tells where to get them."
    )


def converted_object(converted: ConvertResult) -> dict[str, Any]:
    """Return the file written, the network in it, and where its weights came from."""
    origin = converted.built.checkpoint
    assert origin is not None
    return {
        "path": str(converted.path),
        "bytes": converted.entry.bytes,
        "sha256": converted.entry.sha256,
        "network": dict(converted.built.settings),
        "setting_sources": dict(converted.built.setting_sources),
        "preprocessing": msgspec.to_builtins(converted.built.preprocessing),
        "source": {
            "file": origin.file,
            "url": origin.url,
            "sha256": origin.sha256,
            "container": origin.container,
            "layout": origin.layout,
            "loaded": origin.loaded,
            "total": origin.total,
            "values": origin.values,
            "converted": list(origin.converted),
            "ignored_keys": list(origin.ignored_keys),
        },
    }


def print_converted(converted: ConvertResult, console: Console) -> None:
    """Print what was read, what it was taken for, and what was written."""
    built, origin = converted.built, converted.built.checkpoint
    assert origin is not None
    console.print(f"read     {escape(str(origin.path))}  {origin.container}, SHA-256 {origin.sha256[:16]}…")
    console.print(f"layout   {origin.layout}, {origin.loaded} of {origin.total} tensors, {origin.values:,} values")
    console.print(f"network  {built.title}")
    for note in built.notes[1:]:  # the first repeats the line above
        console.print(f"note     {escape(note)}")
    entry = converted.entry
    console.print(f"wrote    {escape(str(converted.path))}  {size(entry.bytes)}  SHA-256 {entry.sha256[:16]}…")
