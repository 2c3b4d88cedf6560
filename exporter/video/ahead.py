"""FFmpeg decodes the next frames in a thread, while the caller converts and resizes those before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

MAX_FRAMES = 8
MAX_BYTES = 16 << 20
"""Decoded frames that wait: as many as have these bytes, if the next has those of the last; at most `MAX_FRAMES`, and
at least one."""


class FramesAhead:
    """An iterator over the same frames, which are decoded ahead in a thread. It ends, or raises, as they do.

    Args:
        frames: the frames; nothing else may take from them.
        wait: called in the thread before each frame: decoding rests until it returns.
    """

    def __init__(self, frames: Iterator[VideoFrame], wait: Callable[[], None]) -> None:
        self._frames, self._wait = frames, wait
        self._decoded: SimpleQueue[VideoFrame | BaseException | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()  # an item for each frame that was taken
        self._ended = self._closed = False
        self._thread = Thread(target=self._run, name="frames ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> FramesAhead:
        return self

    def __next__(self) -> VideoFrame:
        if self._ended:
            raise StopIteration
        frame = self._decoded.get()
        if frame is None or isinstance(frame, BaseException):
            self._ended = True
            raise StopIteration if frame is None else frame
        self._room.put(None)
        return frame

    def close(self) -> None:
        """Stop decoding, and wait for the frame that is being decoded: what it comes from may be closed then."""
        self._ended = self._closed = True
        self._room.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            waiting: deque[int] = deque()  # the sizes of frames that may not have been taken yet
            while True:
                while waiting and (len(waiting) >= MAX_FRAMES or sum(waiting) + waiting[-1] > MAX_BYTES):
                    self._room.get()
                    if self._closed:
                        return
                    waiting.popleft()
                self._wait()
                if self._closed:
                    return
                frame = next(self._frames, None)
                self._decoded.put(frame)
                if frame is None:
                    return
                waiting.append(sum(plane.buffer_size for plane in frame.planes))
                del frame  # the caller's alone
        except BaseException as error:  # noqa: BLE001 - raised again where the frame is taken
            self._decoded.put(error)
