"""Memory for decoded frames, in which overlapping clips are views."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from exporter.video.types import Frame

CHUNK_BYTES = 64 << 20
"""Size of a chunk, where that is between one and eight clips."""


class FrameBuffer:
    """Keeps the frames of a video that clips still need, in chunks of memory.

    A clip is a view of a chunk, without a copy, where its frames lie at equal distances; clips that repeat frames, or
    whose frames were picked by time stamp, are copied. When a chunk is full, the frames that are still needed are
    copied to the next one. A chunk is freed when the last clip that refers to it is.

    The buffer holds one chunk: `CHUNK_BYTES`, but at least one clip and at most eight; or twice the frames from the
    first one of the oldest incomplete clip on, where that is more.

    Args:
        frames: number of frames of a clip.
    """

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._chunk: Frame | None = None
        self._numbers: list[int] = []
        self._slots: dict[int, int] = {}
        self._oldest = 0

    def add(self, number: int, frame: Frame) -> None:
        """Add a frame of the video: (height, width, 3), the same shape and dtype as the others."""
        if self._chunk is None:
            by_size = CHUNK_BYTES // max(1, frame.nbytes)
            self._chunk = self._allocate(frame, min(max(by_size, self._frames), 8 * self._frames))
        elif len(self._numbers) == len(self._chunk):
            self._advance(frame)
        slot = len(self._numbers)
        self._chunk[slot] = frame
        self._numbers.append(number)
        self._slots[number] = slot

    def drop_before(self, number: int) -> None:
        """State that no clip needs frames before `number` any more."""
        self._oldest = number

    def view(self, numbers: Sequence[int]) -> Frame:
        """Return the frames with these numbers, (len(numbers), height, width, 3), read-only."""
        assert self._chunk is not None
        slots = [self._slots[number] for number in numbers]
        steps = {after - before for before, after in pairwise(slots)} or {1}
        step = steps.pop()
        regular = not steps and step > 0
        taken = self._chunk[slots[0] : slots[-1] + 1 : step] if regular else self._chunk[slots]
        taken.flags.writeable = False
        return taken

    def _advance(self, frame: Frame) -> None:
        """Begin a new chunk with the frames that are still needed."""
        assert self._chunk is not None
        kept = [slot for slot, number in enumerate(self._numbers) if number >= self._oldest]
        chunk = self._allocate(frame, max(len(self._chunk), 2 * len(kept)))
        if kept:
            chunk[: len(kept)] = self._chunk[kept[0] :]
        self._numbers = self._numbers[len(self._numbers) - len(kept) :]
        self._slots = {number: slot for slot, number in enumerate(self._numbers)}
        self._chunk = chunk

    @staticmethod
    def _allocate(frame: Frame, count: int) -> Frame:
        return np.empty((count, *frame.shape), frame.dtype)
