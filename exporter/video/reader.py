"""From a video to its clips: every frame is decoded once, and transformed once if a clip contains it.

Overlapping clips are views of the memory of decoded frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from exporter.errors import VideoError
from exporter.storage import display
from exporter.video.decoder import Decoder
from exporter.video.sampling import ClipPlanner, Sampling, Short, Span, place_evenly
from exporter.video.sources import Source
from exporter.video.types import Clip, Frame, Transform, VideoInfo, VideoSummary
from models.errors import count

FILLED: dict[Short, str] = {"repeat": "its frames are repeated", "pad": "its last frame is held"}
"""What is done about a video that ends within a clip, by `Sampling.short`."""
CHUNK_BYTES = 64 << 20
"""Size of a chunk of decoded frames, where that is between one and eight clips."""


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


class Video:
    """An open video. A context manager; made by `open_video`.

    Attributes:
        name: of its source.
        info: what the video states about itself.
        summary: what happened while it was read; complete once the iterator of `clips` has ended.
    """

    def __init__(self, source: Source, transform: Transform | None, wait: Callable[[], None] | None) -> None:
        self.name = source.name
        self._transform = transform
        with source.located():
            self._decoder = Decoder(source, constant_size=transform is None, wait=wait)
        self.info: VideoInfo = self._decoder.info
        self.summary: VideoSummary = self._decoder.summary

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Clips stay valid."""
        self._decoder.close()

    def count_frames(self) -> int:
        """Return the number of frames, from a pass over the video of its own, which decodes it where that is needed.

        Raises:
            VideoError: reading fails, or the source is a camera.
        """
        return self._decoder.count_frames()

    def clips(self, sampling: Sampling, starts: Sequence[int] | None = None) -> Iterator[Clip]:
        """Yield the clips of the video in order. Can be called once.

        Args:
            sampling: which frames a clip has, and where clips begin.
            starts: the numbers of the frames where clips begin, ascending, in place of what `sampling` says.

        Raises:
            VideoError: reading fails.
        """
        if starts is None and sampling.clips is not None:
            starts = place_evenly(self.count_frames(), sampling)
        planner = ClipPlanner(sampling, starts, self._decoder.tick)
        buffer = FrameBuffer(sampling.frames)
        times: dict[int, tuple[Fraction, Fraction]] = {}
        for number, frame in enumerate(self._decoder.decode()):
            step = planner.add(frame.start, frame.end)
            if step.needed:
                pixels = frame.to_rgb()
                buffer.add(number, pixels if self._transform is None else self._transform(pixels))
                times[number] = frame.start, frame.end
            yield from self._make(step.complete, buffer, times)
            buffer.drop_before(step.oldest)
            times = {kept: time for kept, time in times.items() if kept >= step.oldest}
        complete = planner.completed
        filled = planner.finish()
        yield from self._make(filled, buffer, times)
        what = "ends within a clip" if complete else "shorter than one clip"
        if filled:
            self.summary.note(f"{what} ({count(self.summary.frames, 'frame')}): {FILLED[sampling.short]}")
        elif not complete:
            self.summary.note(f"{what} ({count(self.summary.frames, 'frame')}): skipped")

    def _make(
        self, spans: Sequence[Span], buffer: FrameBuffer, times: dict[int, tuple[Fraction, Fraction]]
    ) -> Iterator[Clip]:
        for span in spans:
            first, last = span.frames[0], max(span.frames)
            start, end = float(times[first][0]), float(times[last][1])
            self.summary.clips += 1
            yield Clip(span.index, first, last, start, end, span.repeated, buffer.view(span.frames))


def open_video(
    source: Source | str | Path, transform: Transform | None = None, wait: Callable[[], None] | None = None
) -> Video:
    """Open a video.

    Args:
        source: as `expand_sources` returns it, or the path or URL of a file.
        transform: applied once to every frame that a clip contains; None keeps (height, width, 3) uint8 RGB, all frames
            of the size of the first.
        wait: called before each frame is decoded and before it is converted: both rest until it returns. FFmpeg then
            decodes ahead in a thread of its own, which changes no frame; None decodes in the caller's thread.

    Raises:
        UnavailableError: PyAV or the library of a URL's protocol is not installed.
        VideoError: it is not a video, or cannot be read.
    """
    return Video(source if isinstance(source, Source) else Source(str(source), display(source)), transform, wait)


def read_first_clip(source: Source | str | Path, transform: Transform | None, sampling: Sampling) -> Clip:
    """Return the first clip of a video, which is decoded no further.

    Raises:
        UnavailableError, VideoError: see `open_video`; or the video is shorter than a clip and `sampling` skips it.
    """
    with open_video(source, transform) as video:
        clip = next(video.clips(sampling), None)
        if clip is None:
            found, span = video.summary.frames, sampling.span or sampling.frames
            raise VideoError(f"{video.name}: {count(found, 'frame')}, but a clip needs {span}")
    return clip
