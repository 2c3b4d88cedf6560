"""What reading a video returns: facts about it, its clips, and what happened while it was read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Frame: TypeAlias = "NDArray[Any]"
"""(height, width, 3), uint8 RGB as decoded, or what a transform made of it."""

Transform: TypeAlias = "Callable[[NDArray[np.uint8]], Frame]"
"""From a decoded frame, (height, width, 3) uint8 RGB, to an array that has one shape and dtype for every frame."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video states about itself before it is decoded.

    Attributes:
        width: of the first frame in pixels, after the rotation that the metadata asks for.
        height: likewise.
        fps: average frames per second; None where the container does not state it.
        frames: number of frames that the container states, which damaged files get wrong; None where it states none.
        duration: in seconds, as the container states it; None where it does not.
    """

    width: int
    height: int
    fps: float | None
    frames: int | None
    duration: float | None


@dataclass
class VideoSummary:
    """What happened while a video was read. Complete once its last clip was taken.

    Attributes:
        frames: frames decoded.
        corrupt_packets: packets that could not be decoded, which were skipped; of images, files.
        damaged_frames: frames in which FFmpeg found and concealed errors.
        clips: clips that were returned.
        notes: what a user should know, a short sentence each.
    """

    frames: int = 0
    corrupt_packets: int = 0
    damaged_frames: int = 0
    clips: int = 0
    notes: tuple[str, ...] = ()

    def note(self, text: str) -> None:
        """Add a note once."""
        if text not in self.notes:
            self.notes = (*self.notes, text)


@dataclass(frozen=True)
class ClipSpan:
    """Which part of a video a clip is; what is made of a clip extends this.

    Attributes:
        index: number of the clip in its video, from 0.
        first: number of its first frame in the video, from 0, in the order of display.
        last: number of its last frame.
        start: time stamp of its first frame, in seconds from the first frame of the video.
        end: the time at which its last frame stops being shown.
        repeated: how many of its frames repeat others because the video is shorter than the clip.
    """

    index: int
    first: int
    last: int
    start: float
    end: float
    repeated: int

    def span(self) -> tuple[int, int, int, float, float, int]:
        """Return these six, the first arguments of every class that extends this one."""
        return self.index, self.first, self.last, self.start, self.end, self.repeated


@dataclass(frozen=True)
class Clip(ClipSpan):
    """A clip of a video.

    Attributes:
        frames: (time, height, width, 3), read-only, of the transform's dtype. Overlapping clips are views of the same
            memory, which stays valid as long as a clip refers to it.
    """

    frames: Frame
