"""From the frames of a video, or image files, to pixels with time stamps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from exporter.errors import VideoError
from exporter.isolation.worker import native_call
from exporter.video.ahead import FramesAhead
from exporter.video.container import DEFAULT_FPS, FileFrames
from exporter.video.pixels import FrameConverter
from exporter.video.sources import Source
from exporter.video.types import VideoInfo, VideoSummary
from models.errors import count, join_limited

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

MAX_MISSING_S = 1.0
"""Seconds by which the frames may end before the duration that a container without a number of frames states. That is
the duration of its longest stream, and sound often goes on a little longer."""


@dataclass(frozen=True)
class DecodedFrame:
    """A frame of a video.

    Attributes:
        start: its time stamp in seconds from the first frame.
        end: the time stamp of the frame after it; of the last frame, when it stops being shown.
        to_rgb: converts it to (height, width, 3) uint8 RGB.
    """

    start: Fraction
    end: Fraction
    to_rgb: Callable[[], NDArray[np.uint8]]


class Decoder:
    """A video from opening to the last frame. A context manager.

    Args:
        source: a file, images, or a camera.
        constant_size: see `FrameConverter`.
        wait: called before each frame is decoded, and before it is given to the caller. FFmpeg then decodes ahead in
            a thread of its own. None decodes in the caller's thread.

    Attributes:
        info: what the container states, and the size of the first frame.
        summary: what happened so far.
        tick: the resolution of the time stamps in seconds.

    Raises:
        UnavailableError: PyAV is not installed.
        VideoError: it is not a video, or no frame of it can be decoded.
    """

    def __init__(self, source: Source, *, constant_size: bool = False, wait: Callable[[], None] | None = None) -> None:
        self._source, self._wait = source, wait
        self.summary = VideoSummary()
        self._ahead: FramesAhead | None = None
        self._video = (ImageFrames if source.kind == "images" else FileFrames)(source, self.summary)
        try:
            self._convert = FrameConverter(self.summary, constant_size=constant_size)
            self._frames: Iterator[VideoFrame] = self._video.read()
            if wait is not None:
                self._frames = self._ahead = FramesAhead(self._frames, wait)
            self._first = self._next()
            if self._first is None:
                raise VideoError(
                    f"{source.name}: no {'image' if source.images else 'frame'} can be decoded{self._found()}"
                )
            width, height = self._convert.size(self._first)
        except BaseException:
            self.close()
            raise
        rate = self._video.rate
        self.info = VideoInfo(
            width, height, float(rate) if rate else None, self._video.stated or None, self._video.duration
        )
        self.tick = self._video.tick

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._ahead is not None:
            self._ahead.close()
        self._video.close()

    def decode(self) -> Iterator[DecodedFrame]:
        """Yield the frames in order of display. Can be called once.

        Raises:
            VideoError: reading the file fails.
        """
        if self._first is None:
            raise RuntimeError("the frames of a video can be decoded once; open it again")
        frame, self._first = self._first, None
        start, origin = Fraction(0), _stamp(frame)
        while frame is not None:
            self.summary.frames += 1
            self.summary.damaged_frames += frame.is_corrupt
            following = self._next()
            stamp = _stamp(following)
            end = start if stamp is None or origin is None else stamp - origin
            if end <= start:
                if following is not None:
                    self.summary.note("time stamps are missing or go back: the frame rate stands in for them")
                end = start + self._duration(frame)
            if self._wait is not None:
                self._wait()
            yield DecodedFrame(start, end, partial(self._to_rgb, frame))
            frame, start = following, end
        self._note_damage(start)

    def count_frames(self) -> int:
        """Return the number of frames, from a pass over the video of its own, which decodes it where that is needed.

        Raises:
            VideoError: reading fails, or the source is a camera.
        """
        counted = self._video.count()
        if counted is not None:
            return counted
        with Decoder(self._source) as again:
            return sum(1 for _ in again.decode())

    def _to_rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return a frame's pixels.

        Raises:
            VideoError: FFmpeg does not convert its format, or its colours: YCgCo, ICtCp, BT.2020 of constant luminance.
        """
        from av.error import FFmpegError

        try:
            with native_call("FFmpeg", self._source.name):
                return self._convert(frame)
        except (FFmpegError, ValueError) as error:
            colours = f"{frame.format.name}, matrix {frame.colorspace} of ITU-T H.273"
            raise VideoError(f"{self._source.name}: FFmpeg does not convert its colours to RGB ({colours})") from error

    def _next(self) -> VideoFrame | None:
        frame = next(self._frames, None)
        if frame is None and self._video.ending is not None:
            self.summary.note(self._video.ending)
        return frame

    def _duration(self, frame: VideoFrame) -> Fraction:
        stated = Fraction(frame.duration * frame.time_base) if frame.time_base else Fraction(0)
        return stated if stated > 0 else 1 / (self._video.rate or DEFAULT_FPS)

    def _found(self) -> str:
        corrupt = self.summary.corrupt_packets
        return f": {count(corrupt, 'corrupt packet')}" if corrupt and not self._source.images else ""

    def _note_damage(self, end: Fraction) -> None:
        """Note what is missing or damaged in the frames that were decoded, which end at `end`."""
        summary, stated, duration = self.summary, self._video.stated, self._video.duration
        if summary.damaged_frames:
            summary.note(f"errors in {count(summary.damaged_frames, 'frame')}, which FFmpeg concealed")
        if self._source.images:
            return
        if summary.corrupt_packets:
            summary.note(f"{count(summary.corrupt_packets, 'corrupt packet')} skipped")
        whole = not self._video.left_out  # of a video that an edit list shortens, only the duration says what is left
        if whole and stated > summary.frames:
            summary.note(f"{summary.frames} frames decoded, {stated} stated by the container")
        elif not (whole and stated) and duration is not None and duration - end > MAX_MISSING_S:
            summary.note(f"its frames end at {float(end):.1f} s, {duration:.1f} s stated by the container")


def _stamp(frame: VideoFrame | None) -> Fraction | None:
    if frame is None or frame.pts is None or frame.time_base is None:
        return None
    return frame.pts * frame.time_base


class ImageFrames:
    """Images as the frames of a video, at 25 frames per second as in FFmpeg.

    Each is opened when its turn comes, as a video of which the first frame counts. One that cannot be read is skipped,
    counted as a corrupt packet, and named.

    Args:
        source: the images.
        summary: counts, and takes notes.
    """

    tick, left_out = Fraction(0), 0
    rate: Fraction | None = DEFAULT_FPS

    def __init__(self, source: Source, summary: VideoSummary) -> None:
        self._source, self._summary = source, summary
        self.ending: str | None = None
        self.stated = len(source.images)
        self.duration: float | None = float(self.stated / DEFAULT_FPS)

    def read(self) -> Iterator[VideoFrame]:
        """Yield the first frame of each image, with time stamps."""
        broken: list[str] = []
        number = 0
        for path in self._source.images:
            try:
                with FileFrames(Source(path, path), VideoSummary()) as image:
                    frame = next(image.read(), None)
            except VideoError:
                frame = None
            if frame is None:
                self._summary.corrupt_packets += 1
                broken.append(path)
                continue
            frame.pts, frame.time_base, frame.duration = number, 1 / DEFAULT_FPS, 1
            number += 1
            yield frame
        if broken:
            self.ending = f"images that cannot be decoded: {join_limited(broken, 3)}"

    def count(self) -> int | None:
        """Return None: whether an image can be decoded is not known before."""
        return None

    def close(self) -> None:
        """Do nothing: no file stays open."""
