"""Which frames of a video form its clips. Pure arithmetic: nothing here decodes.

Clips slide over the video by default: one begins every `step`, covers `window`, and consists of as many frames as the
network takes. With `clips`, that many are placed evenly over the video instead, which needs its number of frames.

Times are fractions, so that a window of 0.5 s holds the same frames in every video of one frame rate. A position in
seconds stands for the frame that is shown then: the last one whose time stamp is not later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from exporter.errors import UsageError

Short = Literal["repeat", "pad", "skip"]
SHORT: tuple[Short, ...] = ("repeat", "pad", "skip")
"""What to do with a video that is shorter than one clip: start again from its first frame (MMAction2's
`out_of_bound_opt="loop"`), hold its last frame (GluonCV), or return no clip."""


MAX_CLIPS = 100_000
"""The most clips that can be placed evenly over a video."""


@dataclass(frozen=True)
class Seconds:
    """A length of time in seconds, greater than 0."""

    value: Fraction

    def __post_init__(self) -> None:
        if self.value <= 0:
            raise UsageError(f"a length of time must be greater than 0, not {float(self.value):g} s")

    def __str__(self) -> str:
        return f"{float(self.value):g}s"


Length = int | Seconds
"""A number of frames, or a time."""


def parse_length(text: str, option: str = "") -> Length:
    """Return the length that a user wrote: `16` is a number of frames, `0.5s` a time.

    Args:
        text: as it was written.
        option: where it was written, for the error.

    Raises:
        UsageError: neither, or not greater than 0.
    """
    matched = re.fullmatch(r"(\d{1,9})|(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})\s?s", text.strip(), re.ASCII)
    value = Fraction(matched[1] or matched[2]) if matched else Fraction(0)
    if not matched or value == 0:
        where = f"{option} " if option else ""
        raise UsageError(
            f"{where}{text!r} is no length: write a number of frames (16) or seconds (0.5s), above 0, below a billion"
        )
    return int(value) if matched[1] else Seconds(value)


@dataclass(frozen=True)
class Sampling:
    """How clips are taken from a video.

    Attributes:
        frames: number of frames of a clip, as the network takes it.
        frame_step: distance between them in frames, where there is no `window`.
        window: what a clip covers: its frames lie evenly in it, frame k at k/frames of the window. It replaces
            `frame_step`. None: as many frames as `frame_step` says.
        step: from the start of a clip to that of the next. None: without overlap and without a gap. At most one clip
            begins at each frame of the video.
        clips: place this many clips evenly over the video, the first at its start and the last at its end
            (MMAction2's `SampleFrames` in test mode; a single clip is taken from the middle). Excludes `step`.
        short: what to do with a video shorter than one clip, see `SHORT`.

    Raises:
        UsageError: numbers below 1, more than `MAX_CLIPS`, or `clips` together with a step or a window in seconds.
    """

    frames: int
    frame_step: int = 1
    window: Length | None = None
    step: Length | None = None
    clips: int | None = None
    short: Short = "repeat"

    def __post_init__(self) -> None:
        if self.clips is not None and self.clips < 1:
            raise UsageError(f"--clips must be at least 1 (got {self.clips})")
        numbers = (self.frames, self.frame_step, self.window, self.step)
        if any(isinstance(number, int) and number < 1 for number in numbers):
            raise UsageError("the frames of a clip, windows and steps must be at least 1")
        if self.clips is not None and self.clips > MAX_CLIPS:
            raise UsageError(f"at most {MAX_CLIPS:,} clips can be spaced evenly over a video, not {self.clips:,}")
        if self.clips is not None and (self.step is not None or isinstance(self.window, Seconds)):
            raise UsageError("--clips places clips evenly over a video; it takes no --step and no --window in seconds")
        if self.short not in SHORT:
            raise UsageError(f"unknown policy for short videos {self.short!r}: {', '.join(SHORT)}")

    @property
    def offsets(self) -> tuple[int, ...] | None:
        """The frames of a clip, counted from its first; None where the window is in seconds."""
        if isinstance(self.window, Seconds):
            return None
        if self.window is None:
            return tuple(number * self.frame_step for number in range(self.frames))
        return tuple(number * self.window // self.frames for number in range(self.frames))

    @property
    def span(self) -> int | None:
        """The number of consecutive frames of the video that a clip needs; None where the window is in seconds."""
        if isinstance(self.window, Seconds):
            return None
        return self.window or (self.frames - 1) * self.frame_step + 1

    @property
    def stride(self) -> Length:
        """From the start of a clip to that of the next."""
        return self.step or self.window or self.frames * self.frame_step


def place_evenly(count: int, sampling: Sampling) -> tuple[int, ...]:
    """Return the first frames of `sampling.clips` clips that lie evenly over a video of `count` frames.

    MMAction2 1.x: `round(k * (count - span) / (clips - 1))`, halves to the even number; one clip begins at
    `(count - span) // 2`. A video that is shorter than a clip has one clip, which begins at 0, where MMAction2 repeats
    the same clip.
    """
    room = count - (sampling.span or 0)
    if sampling.clips is None:
        raise UsageError("the number of clips is not given")
    if room < 0:
        return (0,)
    if sampling.clips == 1:
        return (room // 2,)
    return tuple(round(Fraction(number * room, sampling.clips - 1)) for number in range(sampling.clips))


@dataclass(frozen=True)
class Span:
    """The frames of a clip.

    Attributes:
        index: number of the clip, from 0.
        frames: numbers of its frames in the video, not descending except where a short video starts again.
        repeated: how many of them were added because the video is shorter than the clip.
    """

    index: int
    frames: tuple[int, ...]
    repeated: int = 0


@dataclass
class _Open:
    """A clip that has begun and is not complete."""

    index: int
    first: int
    time: Fraction
    frames: list[int] = field(default_factory=list[int])


@dataclass(frozen=True)
class Step:
    """What a frame means for the clips.

    Attributes:
        needed: a clip contains it.
        complete: the clips that it completes.
        oldest: no clip needs frames before this one.
    """

    needed: bool
    complete: tuple[Span, ...]
    oldest: int


class ClipPlanner:
    """Decides frame by frame which frames belong to which clips, with the frames of a video in order of display.

    Args:
        sampling: the rules.
        starts: the first frames of the clips, ascending, where they lie evenly; None where clips slide.
        tick: the resolution of the video's time stamps in seconds, to which they are rounded.
    """

    def __init__(self, sampling: Sampling, starts: Sequence[int] | None = None, tick: Fraction = Fraction(0)) -> None:
        self._sampling = sampling
        self._offsets, self._span = sampling.offsets, sampling.span
        self._starts = None if starts is None else list(starts)
        self._tick = tick
        self._open: list[_Open] = []
        self._begun = 0
        self._next: Fraction | int = 0
        self._count = 0
        self.completed = 0

    def add(self, start: Fraction, end: Fraction) -> Step:
        """Take the next frame of the video.

        Args:
            start: its time stamp, in seconds from the first frame.
            end: the time stamp of the frame after it; for the last frame, when it stops being shown.
        """
        number = self._count
        self._count += 1
        self._begin(number, start, end)
        needed, complete, left = False, list[Span](), list[_Open]()
        for clip in self._open:
            taken = self._take(clip, number, end)
            needed = needed or taken
            if self._is_complete(clip, number, end):
                complete.append(Span(clip.index, tuple(clip.frames)))
            else:
                left.append(clip)
        self._open = left
        self.completed += len(complete)
        oldest = min((clip.frames[0] if clip.frames else number + 1 for clip in left), default=number + 1)
        return Step(needed, tuple(complete), oldest)

    def finish(self) -> tuple[Span, ...]:
        """Return the clips that `short` makes of what is left after the last frame.

        Sliding clips that the video does not complete are dropped unless there is no other.
        """
        if self._starts is None and (self.completed or not self._open):
            return ()
        unfinished = self._open if self._starts is not None else self._open[:1]
        spans = [self._fill(clip) for clip in unfinished if clip.frames and self._sampling.short != "skip"]
        self.completed += len(spans)
        self._open = []
        return tuple(spans)

    def _fill(self, clip: _Open) -> Span:
        present, length = len(clip.frames), self._sampling.frames
        if self._sampling.short == "repeat":
            frames = [clip.frames[number % present] for number in range(length)]
        else:
            frames = [clip.frames[min(number, present - 1)] for number in range(length)]
        return Span(clip.index, tuple(frames), length - present)

    def _begin(self, number: int, start: Fraction, end: Fraction) -> None:
        """Begin the clips that start at this frame: of those that slide, at most one."""
        if self._starts is not None:
            while self._begun < len(self._starts) and self._starts[self._begun] == number:
                self._open.append(_Open(self._begun, number, start))
                self._begun += 1
            return
        stride = self._sampling.stride
        if isinstance(stride, int):
            begins, time = number == self._next, start
            following: Fraction | int = self._next + stride
        else:
            shown_until = end - self._tick / 2
            begins, time = self._next < shown_until, Fraction(self._next)
            following = max(self._next + stride.value, -(-shown_until // stride.value) * stride.value)
        if begins:
            self._open.append(_Open(self._begun, number, time))
            self._begun += 1
            self._next = following

    def _take(self, clip: _Open, number: int, end: Fraction) -> bool:
        """Add the frame to the clip as often as the clip contains it."""
        before, length = len(clip.frames), self._sampling.frames
        offsets, window = self._offsets, self._sampling.window
        if offsets is not None:
            while len(clip.frames) < length and clip.first + offsets[len(clip.frames)] == number:
                clip.frames.append(number)
        elif isinstance(window, Seconds):
            while len(clip.frames) < length:
                if clip.time + Fraction(len(clip.frames), length) * window.value >= end - self._tick / 2:
                    break
                clip.frames.append(number)
        return len(clip.frames) > before

    def _is_complete(self, clip: _Open, number: int, end: Fraction) -> bool:
        if len(clip.frames) < self._sampling.frames:
            return False
        window = self._sampling.window
        if self._span is not None:
            return number >= clip.first + self._span - 1
        return isinstance(window, Seconds) and end + self._tick >= clip.time + window.value
