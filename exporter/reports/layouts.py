"""The table of checkpoint origins, and the result of a conversion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console

from exporter.reports.console import print_field, print_notes, print_text, print_title, print_wrote
from models.class_names import CLASS_LISTS
from models.errors import count
from models.preprocessing.profiles import PROFILES, UNKNOWN
from models.preprocessing.recipe import Preprocessing
from models.text import format_bytes

if TYPE_CHECKING:
    from exporter.workflows.convert import ConvertResult
    from models.checkpoints.layout import Layout

NOT_STATED = "nothing states how frames were prepared for these layouts; predict and features ask for --preprocess"
"""In place of the source of the profile UNKNOWN."""


def layouts_to_dict(layouts: Sequence[Layout]) -> dict[str, Any]:
    """Return every origin with its conventions."""
    return {
        "layouts": [
            {
                "layout": row.name,
                "files": row.title,
                "pool5": row.pool5,
                "preprocessing": msgspec.to_builtins(row.preprocessing),
                "needs_layout": bool(row.disambiguation),
                "disambiguation": row.disambiguation or None,
                "class_names": {str(classes): name for classes, name in row.class_lists.items()},
            }
            for row in layouts
        ],
        "class_lists": [
            {"name": row.name, "classes": row.count, "title": row.title, "source": row.source, "licence": row.licence}
            for row in CLASS_LISTS
        ],
    }


def print_layouts(layouts: Sequence[Layout], console: Console) -> None:
    """Print every origin: its files, how they are recognised, and their conventions."""
    for row in layouts:
        needed = f"must be given: --layout {row.name}; {row.disambiguation}"
        profile = row.preprocessing
        print_title(row.name, f"  {row.title}", console)
        seen = "detected by tensor names and shapes" + ", and by what is beside the weights" * bool(row.written_by)
        _print_detail("layout", needed if row.disambiguation else seen, console)
        _print_detail("pool5", row.pool5 or "not known: symmetric unless --pool5 is given", console)
        _print_detail("preprocessing", profile.describe() if profile.name != "unknown" else "not known", console)
        lists = ", ".join(f"{name} ({classes})" for classes, name in row.class_lists.items())
        _print_detail("class names", lists or "not known: --labels sets them", console)
    console.print()
    print_title("Class names", "  the lists that --labels takes by name", console)
    for one in CLASS_LISTS:
        _print_detail(one.name, f"{one.count} classes: {one.title}. Source: {one.source}", console)
    console.print()
    last = "`c3d-export inspect FILE` detects the layout of a file; docs/how-to/checkpoints.md lists the sources."
    print_text(last, console)


def profiles_to_dict(layouts: Sequence[Layout]) -> dict[str, Any]:
    """Return every preprocessing profile, and the origins whose checkpoints come with it."""
    return {
        "profiles": [
            msgspec.to_builtins(profile) | {"layouts": _find_layouts(layouts, profile)} for profile in PROFILES
        ]
    }


def print_profiles(layouts: Sequence[Layout], console: Console) -> None:
    """Print every preprocessing profile: its recipe, its sampling, its origin, and the layouts that come with it."""
    for profile in PROFILES:
        print_title(profile.name, f"  {profile.describe()}", console)
        _print_detail("clips", _describe_clips(profile), console)
        _print_detail("layouts", ", ".join(_find_layouts(layouts, profile)) or "none: give --preprocess", console)
        _print_detail("source", NOT_STATED if profile is UNKNOWN else profile.source, console)
    console.print()
    print_text("`c3d-export layouts --profile NAME` prints one as a file to edit, for --preprocess FILE.", console)


def _print_detail(name: str, text: str, console: Console) -> None:
    """Print what is known of the layout, profile or list above."""
    print_field(f"    {name}", text, console, width=19)


def _describe_clips(profile: Preprocessing) -> str:
    if profile.clips == 1:
        return "one, in the middle of a video"
    if profile.clips is not None:
        return f"{profile.clips} of a video, evenly spaced; their {profile.average} are averaged"
    if profile.clip_step is not None:
        return f"one every {count(profile.clip_step, 'frame')}; their {profile.average} are averaged"
    return "not stated: one after another"


def _find_layouts(layouts: Sequence[Layout], profile: Preprocessing) -> list[str]:
    return [row.name for row in layouts if row.preprocessing.name == profile.name]


def conversion_to_dict(result: ConvertResult) -> dict[str, Any]:
    """Return the file written, the network in it, and where its weights came from."""
    source = result.built.checkpoint
    assert source is not None, "a conversion has a checkpoint"
    members = ("file", "url", "sha256", "container", "layout", "loaded", "total", "values", "converted", "notes")
    return {
        "path": str(result.path),
        "bytes": result.entry.bytes,
        "sha256": result.entry.sha256,
        "network": dict(result.built.settings),
        "setting_sources": dict(result.built.setting_sources),
        "preprocessing": msgspec.to_builtins(result.built.preprocessing),
        "class_names": result.built.class_names,
        "source": {name: getattr(source, name) for name in members}
        | {"selection": msgspec.to_builtins(source.selection)},
    }


def print_conversion(result: ConvertResult, console: Console) -> None:
    """Print what was read, what it was detected as, and what was written."""
    built, source, entry = result.built, result.built.checkpoint, result.entry
    assert source is not None, "a conversion has a checkpoint"
    print_field("read", f"{source.path}  {source.container}, SHA-256 {source.sha256[:16]}…", console)
    print_field(
        "layout", f"{source.layout}, {source.loaded} of {source.total} tensors, {source.values:,} values", console
    )
    print_field("network", built.title, console)
    print_notes((*built.notes[1:], *result.notes), console)  # the first repeats the line above
    print_wrote(result.path, f"  {format_bytes(entry.bytes)}  SHA-256 {entry.sha256[:16]}…", console)
