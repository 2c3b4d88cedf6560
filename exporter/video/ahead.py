"""FFmpeg decodes the next frames in a thread, while the caller converts and resizes those before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

MAX_FRAMES = 8
MAX_BYTES = 16 << 20
"""Decoded frames that wait: as many as have these bytes, at most `MAX_FRAMES` and at least one."""


@dataclass(frozen=True)
class _Failure:
    """What reading the frames raised."""

    error: BaseException


class FramesAhead:
    """An iterator over the same frames, which are decoded ahead in a thread. It ends, or raises, as they do.

    Args:
        frames: the frames; nothing else may take from them.
        wait: called in the thread before each frame: decoding rests until it returns.
    """

    def __init__(self, frames: Iterator[VideoFrame], wait: Callable[[], None]) -> None:
        self._frames, self._wait = frames, wait
        self._decoded: SimpleQueue[VideoFrame | _Failure | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()  # an item for each frame that may be decoded
        self._room.put(None)
        self._sized = self._ended = self._closed = False
        self._thread = Thread(target=self._run, name="frames ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> FramesAhead:
        return self

    def __next__(self) -> VideoFrame:
        if self._ended:
            raise StopIteration
        frame = self._decoded.get()
        if frame is None or isinstance(frame, _Failure):
            self._ended = True
            if isinstance(frame, _Failure):
                raise frame.error
            raise StopIteration
        if not self._sized:
            self._sized = True
            size = sum(plane.buffer_size for plane in frame.planes)
            for _ in range(max(1, min(MAX_FRAMES, MAX_BYTES // max(1, size))) - 1):
                self._room.put(None)
        self._room.put(None)
        return frame

    def close(self) -> None:
        """Stop decoding, and wait for the frame that is being decoded: what it comes from may be closed then."""
        self._ended = self._closed = True
        self._room.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            frame: VideoFrame | None = None
            while True:
                del frame  # the caller's alone
                self._room.get()
                self._wait()
                if self._closed:
                    return
                frame = next(self._frames, None)
                self._decoded.put(frame)
                if frame is None:
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where the frame is taken
            self._decoded.put(_Failure(error))
