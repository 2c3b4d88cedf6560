"""The values of a video's classes over time, in memory that does not depend on the video's length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exporter.inference.predictions import TimelinePoint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_POINTS = 256
"""Points of a timeline: more than a chart of 400 pixels can show."""


@dataclass
class _Sum:
    """Clips that follow one another: when, how many, and the sum of their values."""

    start: float
    end: float
    clips: int
    values: NDArray[np.float64]

    def add(self, other: _Sum) -> None:
        self.end = max(self.end, other.end)
        self.clips += other.clips
        self.values = self.values + other.values


@dataclass
class Timeline:
    """The values of every class over time. Where there are too many points, neighbours are added in pairs.

    Attributes:
        max_points: points that are kept, an even number.
    """

    max_points: int = MAX_POINTS
    _points: list[_Sum] = field(default_factory=list[_Sum])
    _clips_per_point: int = 1

    def __post_init__(self) -> None:
        if self.max_points < 2 or self.max_points % 2:
            raise ValueError(f"max_points must be an even number (got {self.max_points})")

    def add(self, start: float, end: float, values: NDArray[np.float64]) -> None:
        """Take the next clip.

        Args:
            start: time of its first frame, in seconds.
            end: time at which it ends.
            values: (classes,).
        """
        clip = _Sum(start, end, 1, values)
        if self._points and self._points[-1].clips < self._clips_per_point:
            self._points[-1].add(clip)
            return
        if len(self._points) == self.max_points:
            for first, second in zip(self._points[::2], self._points[1::2], strict=True):
                first.add(second)
            self._points = self._points[::2]
            self._clips_per_point *= 2
        self._points.append(clip)

    def points(self, classes: Sequence[int]) -> tuple[TimelinePoint, ...]:
        """Return the averages of these classes, in the order of time."""
        return tuple(
            TimelinePoint(
                point.start,
                point.end,
                point.clips,
                tuple(float(value) / point.clips for value in point.values[list(classes)]),
            )
            for point in self._points
        )
