"""A queue for each video, filled by several threads and emptied in order by one, bounded in bytes over all of them."""

from __future__ import annotations

from collections import deque
from threading import Condition, RLock
from typing import Generic, TypeVar

Item = TypeVar("Item")


class VideoQueues(Generic[Item]):
    """Items of videos that are numbered from 0. They are taken from one video after another.

    A queue that is empty takes an item whatever the others hold, so that the video whose turn it is always goes on.

    Args:
        max_bytes: how much all queues hold together; beside that, one item of each video that has begun.
        max_ahead: how many videos may have begun after the one whose turn it is.
    """

    def __init__(self, max_bytes: int, max_ahead: int) -> None:
        self._max_bytes, self._max_ahead = max_bytes, max_ahead
        self._items: dict[int, deque[tuple[Item, int]]] = {}
        self._bytes = 0
        self._turn = 0
        # `with` takes the lock, not the condition, which Ctrl-C could interrupt after it has taken the lock
        self._lock = RLock()
        self._changed = Condition(self._lock)
        self._closed = False

    def begin(self, number: int) -> bool:
        """Wait until a video may begin; return False where the queues were closed."""
        with self._lock:
            self._changed.wait_for(lambda: self._closed or number <= self._turn + self._max_ahead)
            return not self._closed

    def put(self, number: int, item: Item, size: int = 0) -> bool:
        """Add an item of a video when there is room.

        Args:
            number: the video.
            item: the item.
            size: its bytes.

        Returns:
            False where the queues were closed: no consumer is left.
        """
        with self._lock:
            items = self._items.setdefault(number, deque())
            self._changed.wait_for(lambda: self._closed or not items or self._bytes + size <= self._max_bytes)
            if self._closed:
                return False
            items.append((item, size))
            self._bytes += size
            self._changed.notify_all()
            return True

    def get(self, number: int) -> Item:
        """Return the next item of a video; wait until there is one. It is then this video's turn."""
        with self._lock:
            if number != self._turn:
                self._items.pop(self._turn, None)
                self._turn = number
                self._changed.notify_all()
            items = self._items.setdefault(number, deque())
            self._changed.wait_for(lambda: bool(items))
            item, size = items.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Let the other threads return; what is queued is dropped."""
        with self._lock:
            self._closed = True
            self._items.clear()
            self._bytes = 0
            self._changed.notify_all()
