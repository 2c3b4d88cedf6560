"""A run over videos, whose results are kept while they are yielded."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from exporter.inference.predictions import VideoFailure

Result = TypeVar("Result")


class VideoRun(Generic[Result]):
    """A run over videos: yields what becomes of each when it is ready, and keeps it.

    Args:
        ready: each video's result, or why it has none.
        started: when the run began, by `time.monotonic`.
    """

    def __init__(self, ready: Iterable[Result | VideoFailure], started: float) -> None:
        self._ready, self._started = ready, started
        self._videos: list[Result] = []
        self._failures: list[VideoFailure] = []

    def __iter__(self) -> Iterator[Result | VideoFailure]:
        """Yield each video when it is ready."""
        for result in self._ready:
            if isinstance(result, VideoFailure):
                self._failures.append(result)
            else:
                self._videos.append(result)
            yield result

    @property
    def videos(self) -> tuple[Result, ...]:
        """The videos with a result, of those that were yielded."""
        return tuple(self._videos)

    @property
    def failures(self) -> tuple[VideoFailure, ...]:
        """The videos without one, of those that were yielded."""
        return tuple(self._failures)

    @property
    def seconds(self) -> float:
        """How long the run has taken until now."""
        return time.monotonic() - self._started
