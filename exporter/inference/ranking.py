"""From a model's outputs to ranked classes: softmax, average over a video's clips, the highest ones, their timeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from exporter.errors import UsageError
from exporter.inference.outputs import class_outputs
from exporter.inference.predictions import (
    ClassScore,
    ClipPrediction,
    PreviewFrame,
    ScoreType,
    TimelinePoint,
    VideoFailure,
    VideoPrediction,
)
from exporter.inference.types import ClipOutputs, VideoEnd
from models.specs import OutputKind, OutputSpec

NO_CLIPS_EXIT_CODE = 3
MAX_PREVIEW_SIDE = 320
"""Rows and columns of a frame that is kept, at most; larger ones are subsampled."""
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


@dataclass(frozen=True)
class ClassRanking:
    """How classes are ranked.

    Attributes:
        output: the output that is ranked.
        kind: whether its numbers are scores, of which softmax makes probabilities, or probabilities already.
        average: what is averaged over a video's clips: probabilities, or the output as it is.
        names: a name for each class; None where they are not known.
        top: how many classes are returned.
        per_clip: whether each clip's classes are returned too.
        previews: how many frames of a video are returned, at most; with any, its timeline is returned too.
    """

    output: str
    kind: OutputKind
    average: ScoreType
    names: tuple[str, ...] | None
    top: int = 5
    per_clip: bool = False
    previews: int = 0

    @property
    def values(self) -> ScoreType:
        """What the returned numbers are."""
        return "probabilities" if self.kind == "probabilities" else self.average

    @property
    def softmax(self) -> bool:
        """Whether the numbers are the softmax of the output."""
        return self.average == "probabilities" and self.kind != "probabilities"

    def convert(self, output: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return one clip's numbers, (classes,): the probabilities, or the output as it is."""
        scores = output.astype(np.float64)
        if not self.softmax:
            return scores
        exponents = np.exp(scores - scores.max())
        return exponents / exponents.sum()

    def rank(self, values: NDArray[np.float64]) -> tuple[ClassScore, ...]:
        """Return the highest classes, the highest first; of equal values, the first class."""
        order = np.argsort(-values, kind="stable")[: self.top]
        return tuple(ClassScore(int(index), self.name(int(index)), float(values[index])) for index in order)

    def name(self, index: int) -> str:
        """Return the name of a class."""
        return f"class {index}" if self.names is None else self.names[index]


def choose_ranked_output(outputs: Sequence[OutputSpec], what: str, average: ScoreType = "probabilities") -> OutputSpec:
    """Return the output that classes are ranked by: the first of class scores or probabilities.

    Args:
        outputs: what the model returns.
        what: the model's name, for the message.
        average: what is averaged; for scores, an output of scores comes before one of probabilities.

    Raises:
        UsageError: it returns features only.
    """
    ranked = class_outputs(outputs)
    if not ranked:
        names = ", ".join(output.name for output in outputs)
        raise UsageError(
            f"{what} returns no class scores ({names}); c3d-export features writes features, and an export with a "
            "classifier returns scores"
        )
    scores = (output for output in ranked if output.kind == "scores")
    return next(scores, ranked[0]) if average == "scores" else ranked[0]


@dataclass
class VideoScores:
    """One video's clips, added as they come. Without `per_clip` the memory does not depend on how many there are."""

    ranking: ClassRanking
    _total: NDArray[np.float64] | None = None
    _count: int = 0
    _clips: list[ClipPrediction] = field(default_factory=list[ClipPrediction])
    _previews: list[PreviewFrame] = field(default_factory=list[PreviewFrame])
    _every: int = 1
    _timeline: Timeline = field(default_factory=Timeline)

    def add(self, clip: ClipOutputs) -> ClipPrediction | None:
        """Take the next clip; return its classes where each clip's are wanted."""
        values = self.ranking.convert(clip.outputs[self.ranking.output])
        self._total = values if self._total is None else self._total + values
        if clip.preview is not None and self._count % self._every == 0:
            self._keep(clip)
        self._count += 1
        if self.ranking.previews:
            self._timeline.add(clip.start, clip.end, values)
        if not self.ranking.per_clip:
            return None
        top = self.ranking.rank(values)
        self._clips.append(ClipPrediction(*clip.span(), top))
        return self._clips[-1]

    def _keep(self, clip: ClipOutputs) -> None:
        """Keep a clip's frame; where there are too many, drop every second, so that they stay evenly spaced."""
        assert clip.preview is not None
        every = -(-max(clip.preview.shape[:2]) // MAX_PREVIEW_SIDE)  # whole frames, where the model crops them itself
        frame = clip.preview[::every, ::every]
        height, width = frame.shape[:2]
        middle = (clip.start + clip.end) / 2
        self._previews.append(PreviewFrame(clip.index, middle, width, height, frame.tobytes()))
        if len(self._previews) > self.ranking.previews:
            self._previews = self._previews[::2]
            self._every *= 2

    def finish(self, end: VideoEnd) -> VideoPrediction | VideoFailure:
        """Return the video's result."""
        if end.error is not None:
            return VideoFailure(end.source, str(end.error), end.error.exit_code)
        if self._total is None:
            reason = "; ".join(end.notes) or "it has no clip"
            return VideoFailure(end.source, f"{end.source}: {reason}", NO_CLIPS_EXIT_CODE)
        top = self.ranking.rank(self._total / self._count)
        return VideoPrediction(
            end.source,
            self._count,
            top,
            tuple(self._clips),
            width=end.width,
            height=end.height,
            fps=end.fps,
            frames=end.frames,
            duration=end.duration,
            notes=end.notes,
            previews=tuple(self._previews),
            timeline=self._timeline.points([entry.index for entry in top]),
        )
