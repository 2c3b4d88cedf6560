"""A queue between two threads, bounded in bytes, that either side can end."""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import Generic, TypeVar

Item = TypeVar("Item")


class BoundedQueue(Generic[Item]):
    """Items in order, from one thread to another.

    Args:
        max_bytes: how much it holds. An item that is larger than that is taken when the queue is empty.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._items: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        self._changed = Condition()
        self._closed = False

    def put(self, item: Item, size: int = 0) -> bool:
        """Add an item when there is room.

        Args:
            item: the item.
            size: its bytes.

        Returns:
            False where the queue was closed: nobody takes items any more.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._items or self._bytes + size <= self._max_bytes)
            if self._closed:
                return False
            self._items.append((item, size))
            self._bytes += size
            self._changed.notify_all()
            return True

    def get(self) -> Item:
        """Return the next item; wait until there is one."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._items))
            item, size = self._items.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Let the other side's `put` return; what is queued is dropped."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._bytes = 0
            self._changed.notify_all()
