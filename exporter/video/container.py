"""Opens a video with PyAV, reads nothing but that file, and decodes its frames."""

from __future__ import annotations

import errno
import math
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, cast

from exporter.errors import UnavailableError, VideoError
from exporter.isolation.worker import native_call
from exporter.storage import file_name, open_input
from exporter.video.sources import Source
from exporter.video.types import VideoSummary
from models.errors import count, install_command

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

BUFFER_BYTES = 1 << 18
"""What FFmpeg reads of a file at a time."""
MAX_PIXELS = 1 << 26
"""The largest frame that is decoded: 8192x8192, which is 192 MiB as RGB. 8K video has half as many pixels."""
MAX_THREADS = 4
"""Threads of a codec whose frames do not depend on each other. Each holds a frame."""
DEFAULT_FPS = Fraction(25)
"""The frame rate of images and of videos that state none, as in FFmpeg."""
EXACT_COUNT = "mp4"
"""The family of containers whose number of frames is exact if it is that of the packets and none is to be left out."""
STAMPED_WRONG = frozenset(("h264", "hevc"))
"""Codecs for whose frames FFmpeg guesses wrong time stamps in AVI, which has none: those of a frame that is shown later
than others that follow it in the file."""
TARGA = ".tga"
"""Files of this suffix are refused: FFmpeg takes some of them for a video of H.261 or H.263, and shows noise."""
CAMERA = "/dev/video{}"
"""The device of a camera, for FFmpeg's input `v4l2`."""


def require_pyav() -> None:
    """Check that videos can be decoded.

    Raises:
        UnavailableError: PyAV is not installed.
    """
    try:
        import av  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise UnavailableError(f"reading a video needs PyAV; {install_command('video')}") from error


class FileFrames:
    """The frames of a video file or camera, as PyAV decodes them. A context manager.

    A file, local or at a URL, is read by this process and handed to FFmpeg as a stream, and FFmpeg may open nothing
    else: a playlist or the description of a stream leads neither to other files nor into the network.

    Args:
        source: the file.
        summary: counts, and takes notes.

    Attributes:
        rate: average frames per second, as the container states it.
        stated: number of frames that the container states; 0 where it states none.
        duration: in seconds, as the container states it.
        tick: the resolution of the time stamps in seconds.
        left_out: packets so far that the file's edit list leaves out.
        ending: a note on how reading ended; None where there is nothing to say, or before that.

    Raises:
        UnavailableError: PyAV is not installed.
        VideoError: it cannot be read, or FFmpeg knows no such format, or finds no video in it.
    """

    def __init__(self, source: Source, summary: VideoSummary) -> None:
        self._source, self._summary = source, summary
        # cameras, pipes and addresses may be waited for
        self._max_seconds = None if _is_file(source.url) else math.inf
        self._stack = ExitStack()
        try:
            with self._call():
                self._container = self._open()
                self._stream = self._select_stream()
        except BaseException:
            self._stack.close()
            raise
        stream = self._stream
        self.rate: Fraction | None = stream.average_rate or stream.guessed_rate
        self.stated: int = stream.frames
        self.tick: Fraction = stream.time_base or Fraction(0)
        self.left_out = 0
        self.ending: str | None = None
        self.duration: float | None = None
        if stream.duration is not None and stream.time_base is not None:
            self.duration = float(stream.duration * stream.time_base)
        elif self._container.duration is not None:
            self.duration = self._container.duration / 1e6

    def __enter__(self) -> FileFrames:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def read(self) -> Iterator[VideoFrame]:
        """Yield the frames in order of display. Packets that cannot be decoded are skipped and counted.

        Raises:
            VideoError: reading the file fails.
        """
        from av.error import FFmpegError

        packets = self._packets()
        in_avi = self._container.format.name == "avi" and self._stream.codec.name in STAMPED_WRONG
        stamps: deque[int] = deque()  # of AVI's packets: the earliest one is that of the next frame shown
        while True:
            try:
                with self._call():
                    packet = next(packets, None)
            except FFmpegError as error:
                self.ending = f"reading ended early: {_reason(error)}"
                return
            except OSError as error:
                self._refuse("cannot be read", error)
            if packet is None:
                return
            self.left_out += packet.is_discard
            if in_avi and packet.size and packet.dts is not None:
                stamps.append(packet.dts)
            try:
                with self._call():
                    frames = packet.decode()
            except FFmpegError:
                self._summary.corrupt_packets += 1
                if stamps:
                    stamps.pop()
                continue
            for frame in frames:
                if stamps:
                    frame.pts = stamps.popleft()
                yield frame

    def count(self) -> int | None:
        """Return the number of frames without decoding them; None where that is not exact.

        In an MP4 file, the packets are counted. The container's number must agree, and no packet may be marked as
        corrupt or as left out (by an edit list). A packet that then cannot be decoded is counted all the same.

        Raises:
            VideoError: reading the file fails, or the source is a camera.
        """
        if self._source.kind == "camera":
            raise VideoError(f"{self._source.name}: a camera has no end, so clips cannot lie evenly in its video")
        if EXACT_COUNT not in self._container.format.name.split(",") or not self.stated:
            return None
        from av.error import FFmpegError

        with FileFrames(self._source, VideoSummary()) as again:
            try:
                packets = [
                    not packet.is_discard and not packet.is_corrupt for packet in again._packets() if packet.size
                ]
            except FFmpegError:
                return None
        return len(packets) if all(packets) and len(packets) == self.stated else None

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """Yield the packets of the stream, and an empty one at the end that flushes the decoder."""
        packets = self._container.demux(self._stream)
        with suppress(IndexError):  # PyAV flushes streams, too, that appeared while it read, and does not find them
            yield from packets

    def _call(self) -> AbstractContextManager[None]:
        """Name FFmpeg and the video where it crashes or hangs."""
        return native_call("FFmpeg", self._source.name, self._max_seconds)

    def _open(self) -> InputContainer:
        require_pyav()
        import av
        from av.error import FFmpegError

        if self._source.kind == "camera":
            device = CAMERA.format(self._source.url.partition(":")[2])
            try:
                return self._stack.enter_context(av.open(device, "r", format="v4l2"))
            except (FFmpegError, OSError) as error:
                self._refuse(f"cannot open the camera {device}", error)
        if Path(file_name(self._source.url)).suffix.lower() == TARGA:
            raise VideoError(f"{self._source.name}: a TGA image has no mark that FFmpeg knows it by; convert it to PNG")
        stream = self._stack.enter_context(_open_file(self._source))
        # no name: by a suffix such as .gif FFmpeg would search the whole of any file for what begins such a video
        unnamed = cast(BinaryIO, SimpleNamespace(read=stream.read, seek=stream.seek, tell=stream.tell))
        options = {"max_pixels": str(MAX_PIXELS), "protocol_whitelist": "none"}
        try:
            return self._stack.enter_context(
                av.open(
                    unnamed,
                    "r",
                    buffer_size=BUFFER_BYTES,
                    metadata_errors="replace",
                    options=options,
                    # no method: the container would refer to this object, and both and the decoder's frames would stay
                    # in memory until Python's garbage collector finds them
                    io_open=partial(_refuse_other_files, self._source.name),
                )
            )
        except (FFmpegError, OSError, ValueError) as error:
            self._refuse("not a video that can be decoded", error)

    def _refuse(self, what: str, error: Exception) -> NoReturn:
        """Raise the error of a video; where the operating system failed to read the file, not FFmpeg, as just that."""
        from av.error import FFmpegError

        if isinstance(error, OSError) and not isinstance(error, FFmpegError) and error.errno != errno.EINVAL:
            what = "cannot be read"
        raise VideoError(f"{self._source.name}: {what}: {_reason(error)}") from error

    def _select_stream(self) -> VideoStream:
        """Return the video stream to decode: the default one, or the first. Covers and thumbnails are none."""
        from av.stream import Discard, Disposition

        name, found = self._source.name, self._container.streams.video
        pictures = Disposition.attached_pic | Disposition.timed_thumbnails
        streams = [stream for stream in found if not stream.disposition & pictures]
        if not streams:
            raise VideoError(f"{name}: has no video stream{', only a cover picture' if found else ''}")
        stream = next((stream for stream in streams if stream.disposition & Disposition.default), streams[0])
        if len(streams) > 1:
            self._summary.note(f"has {count(len(streams), 'video stream')}; number {stream.index} is read")
        for other in self._container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        self._configure(stream)
        return stream

    def _configure(self, stream: VideoStream) -> None:
        """Set the decoder's limits, and one thread.

        With more threads, FFmpeg conceals the errors of a damaged video differently from run to run. Codecs whose
        frames do not depend on each other are the exception.
        """
        codec: Any = stream.codec_context
        if codec is None:
            raise VideoError(f"{self._source.name}: FFmpeg has no decoder for its video")
        if codec.width * codec.height > MAX_PIXELS:
            size = f"{codec.width}x{codec.height}"
            raise VideoError(f"{self._source.name}: frames of {size} are larger than {MAX_PIXELS:,} pixels")
        codec.options = {"max_pixels": str(MAX_PIXELS)}
        codec.thread_type = "FRAME" if stream.codec.intra_only else "NONE"
        codec.thread_count = MAX_THREADS if stream.codec.intra_only else 1


def _is_file(url: str) -> bool:
    try:
        return Path(url).is_file()
    except OSError:  # it is reported when it is opened
        return False


def _refuse_other_files(name: str, url: str, *_: Any) -> NoReturn:
    raise VideoError(f"{name}: refers to other files ({url}), which are not opened")


def _open_file(source: Source) -> BinaryIO:
    stream = open_input(source.url, "video", VideoError)
    try:
        empty = not stream.read(1)
        stream.seek(0)
    except OSError as error:
        stream.close()
        raise VideoError(f"{source.name}: cannot be read: {_reason(error)}") from error
    if empty:
        stream.close()
        raise VideoError(f"{source.name}: the file is empty")
    return stream


def _reason(error: Exception) -> str:
    """Return why the operating system or FFmpeg failed, without the name of the file."""
    return str(getattr(error, "strerror", None) or error)
