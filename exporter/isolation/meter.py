"""The time and memory that a worker uses, compared with its limits."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from exporter.isolation.board import NativeCall, State
from exporter.isolation.memory import available_memory, descendants, resident_memory

MEMORY_FRACTION = 0.9
"""Without `--max-memory`, the worker may use this fraction of the memory that is available at its start."""
CHILDREN_SECONDS = 1.0
"""Interval of looking for the worker's children; the memory of known children is read with the worker's own."""
GAP_SECONDS = 2.0
"""If `check` was not called for longer, the supervisor itself was stopped (Ctrl-Z), and that time is not counted."""


@dataclass(frozen=True)
class Excess:
    """A limit that was reached.

    Attributes:
        reason: which kind.
        limit: in seconds or bytes.
        call: the call that reached its own limit; None where the command as a whole did.
    """

    reason: Literal["timeout", "memory"]
    limit: float
    call: NativeCall | None = None


class Meter:
    """Compares a worker with its limits, at each call of `check`.

    Args:
        pid: the worker.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._start = self._last = time.monotonic()
        self._stopped = 0.0
        self._available: int | None = None
        self._children: list[int] = []
        self._children_at = -CHILDREN_SECONDS
        self._memory_before: dict[int, int] = {}

    def check(self, state: State) -> Excess | None:
        """Return the limit that the worker has reached; None if none."""
        now = time.monotonic()
        if now - self._last > GAP_SECONDS:
            self._stopped += now - self._last
        self._last = now
        return self._check_time(state, now - self._stopped) or self._check_memory(state, now)

    def _check_time(self, state: State, now: float) -> Excess | None:
        if state.timeout is not None:
            over = 0 < state.timeout < now - self._start
            return Excess("timeout", state.timeout) if over else None
        for call in reversed(state.calls):
            if call.deadline is not None and call.deadline < now:
                return Excess("timeout", call.seconds or 0.0, call)
        return None

    def _check_memory(self, state: State, now: float) -> Excess | None:
        if now - self._children_at >= CHILDREN_SECONDS:
            self._children, self._children_at = descendants(self.pid), now
        own = resident_memory(self.pid)
        total = own + sum(map(resident_memory, self._children))
        if state.max_memory is not None:
            return Excess("memory", state.max_memory) if total > state.max_memory else None
        if self._available is None:
            self._available = available_memory() + total  # what it holds already is not available any more
        if total > MEMORY_FRACTION * self._available:
            return Excess("memory", MEMORY_FRACTION * self._available)
        before = {call.number: self._memory_before.get(call.number, own) for call in state.calls}
        self._memory_before = before
        for call in reversed(state.calls):
            if call.memory is not None and own - before[call.number] > call.memory:
                return Excess("memory", call.memory, call)
        return None
