"""The videos that a user names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """A video that can be opened.

    Attributes:
        location: a path or URL.
        name: for display: as the user wrote it, or its path from the folder that the user named.
    """

    location: str
    name: str


def expand_sources(named: Sequence[str | Path]) -> list[Source]:
    """Return the videos that paths or URLs name, in order.

    Raises:
        VideoError: one of them names no videos.
    """
    from exporter.video.clips import find_videos

    return [Source(str(path), str(path)) for each in named for path in find_videos(Path(each))]
