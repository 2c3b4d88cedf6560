"""Decodes a video file with PyAV, frame by frame."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn, cast

import numpy as np

from exporter.errors import UnavailableError, VideoError
from exporter.video.sources import Source
from exporter.video.types import VideoInfo, VideoSummary

if TYPE_CHECKING:
    from types import ModuleType

    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

BUFFER_BYTES = 1 << 18
"""What FFmpeg reads of a file at a time."""
MAX_PIXELS = 1 << 26
"""The largest frame that is decoded: 8192x8192, which is 192 MiB as RGB. 8K video has half as many pixels."""
DEFAULT_FPS = Fraction(25)
"""The frame rate of images and of videos that state none, as in FFmpeg."""


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


def import_av() -> ModuleType:
    """Return PyAV.

    Raises:
        UnavailableError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UnavailableError("reading a video needs PyAV; pip install 'c3d-export[video]'") from error
    return av


class FileDecoder:
    """A video file, from opening to the last frame. A context manager.

    Args:
        source: the file.

    Attributes:
        info: what the container states.
        tick: the resolution of its time stamps in seconds.

    Raises:
        UnavailableError: PyAV is not installed.
        VideoError: the file is not a video.
    """

    def __init__(self, source: Source) -> None:
        av = import_av()
        self._source = source
        self._stack = ExitStack()
        try:
            stream = self._stack.enter_context(self._open_file())
            self._container = self._stack.enter_context(self._open_container(av, stream))
            self._stream = self._select_stream()
        except BaseException:
            self._stack.close()
            raise
        self.info = self._describe()
        self.tick = self._stream.time_base or Fraction(0)

    def __enter__(self) -> FileDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def decode(self, summary: VideoSummary) -> Iterator[DecodedFrame]:
        """Yield the frames in order of display, and count in `summary`."""
        nominal = 1 / (self._rate or DEFAULT_FPS)
        before: tuple[Fraction, VideoFrame] | None = None
        origin: Fraction | None = None
        duration = nominal
        for frame in self._frames(summary):
            summary.frames += 1
            stamp = None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
            if origin is None:
                origin = stamp or Fraction(0)
            time = None if stamp is None else stamp - origin
            if before is not None:
                if time is None or time <= before[0]:
                    time = before[0] + duration
                yield self._decoded(before[1], before[0], time)
            duration = frame.duration * frame.time_base if frame.duration and frame.time_base else nominal
            before = time or Fraction(0), frame
        if before is not None:
            yield self._decoded(before[1], before[0], before[0] + duration)

    def _decoded(self, frame: VideoFrame, start: Fraction, end: Fraction) -> DecodedFrame:
        return DecodedFrame(start, end, lambda: frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))

    def _frames(self, summary: VideoSummary) -> Iterator[VideoFrame]:
        from av.error import FFmpegError

        try:
            for packet in self._container.demux(self._stream):
                try:
                    frames = packet.decode()
                except FFmpegError:
                    summary.corrupt_packets += 1
                    continue
                yield from frames
        except FFmpegError as error:
            if not summary.frames:
                self._refuse(error)
            summary.note(f"reading ended early: {error.strerror}")

    def _open_file(self) -> IO[bytes]:
        path = Path(self._source.location)
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise VideoError(f"{self._source.name}: not a regular file")
            return path.open("rb")
        except FileNotFoundError as error:
            raise VideoError(f"no such video: {self._source.name}") from error
        except (OSError, ValueError) as error:
            raise VideoError(f"{self._source.name}: cannot be read: {getattr(error, 'strerror', error)}") from error

    def _open_container(self, av: ModuleType, stream: IO[bytes]) -> InputContainer:
        from av.error import FFmpegError

        try:
            container = av.open(
                stream,
                buffer_size=BUFFER_BYTES,
                metadata_errors="replace",
                options={"max_pixels": str(MAX_PIXELS)},
                io_open=self._refuse_other_files,
            )
        except (FFmpegError, ValueError) as error:
            self._refuse(error)
        return cast("InputContainer", container)

    def _refuse_other_files(self, url: str, *_: Any) -> NoReturn:
        raise VideoError(f"{self._source.name}: refers to other files ({url}), which are not opened")

    def _select_stream(self) -> VideoStream:
        streams = self._container.streams.video
        if not streams:
            raise VideoError(f"{self._source.name}: has no video stream")
        return streams[0]

    def _refuse(self, error: Exception) -> NoReturn:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"{self._source.name}: not a video that can be decoded: {reason}") from error

    @property
    def _rate(self) -> Fraction | None:
        return self._stream.average_rate or self._stream.guessed_rate

    def _describe(self) -> VideoInfo:
        stream, rate = self._stream, self._rate
        duration = None
        if stream.duration is not None and stream.time_base is not None:
            duration = float(stream.duration * stream.time_base)
        elif self._container.duration is not None:
            duration = self._container.duration / 1e6
        return VideoInfo(stream.width, stream.height, float(rate) if rate else None, stream.frames or None, duration)
