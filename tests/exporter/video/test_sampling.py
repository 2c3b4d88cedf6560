"""Which frames form the clips of a video."""

from bisect import bisect_right
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import UsageError
from exporter.video.sampling import ClipPlanner, Length, Sampling, Seconds, Short, Span, parse_length, place_evenly


def plan(sampling: Sampling, stamps: list[Fraction], tick: Fraction = Fraction(0)) -> tuple[list[Span], set[int]]:
    """Return the clips of a video with these time stamps (the last one ends it), and the frames called needed."""
    starts = None if sampling.clips is None else place_evenly(len(stamps) - 1, sampling)
    planner = ClipPlanner(sampling, starts, tick)
    spans: list[Span] = []
    needed: set[int] = set()
    for number, (start, end) in enumerate(pairwise(stamps)):
        step = planner.add(start, end)
        needed |= {number} if step.needed else set()
        spans += step.complete
    return spans + list(planner.finish()), needed


def constant(count: int, fps: Fraction | int = 25) -> list[Fraction]:
    return [Fraction(number) / fps for number in range(count + 1)]


def frames(sampling: Sampling, count: int) -> list[tuple[int, ...]]:
    return [span.frames for span in plan(sampling, constant(count))[0]]


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("16", 16),
        (" 1 ", 1),
        ("0.5s", Seconds(Fraction(1, 2))),
        (".25 s", Seconds(Fraction(1, 4))),
        ("2s", Seconds(Fraction(2))),
    ],
)
def test_lengths_in_frames_and_seconds(text: str, length: Length) -> None:
    assert parse_length(text) == length


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "1.5", "16 frames", "1e3", "nan", "٣", "1" * 10, "s"])
def test_what_is_no_length(text: str) -> None:
    with pytest.raises(UsageError, match="is no length: write a number of frames"):
        parse_length(text)


@pytest.mark.parametrize("options", [{"clips": 0}, {"step": 0}, {"window": -1}])
def test_numbers_below_one_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--clips must" if "clips" in options else "windows and steps must"):
        Sampling(4, **options)


def test_clips_follow_each_other_and_the_incomplete_last_one_is_dropped() -> None:
    assert frames(Sampling(4), 10) == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert frames(Sampling(4, step=3), 10) == [(0, 1, 2, 3), (3, 4, 5, 6), (6, 7, 8, 9)]
    assert frames(Sampling(2, step=4), 8) == [(0, 1), (4, 5)]


def test_a_frame_step_takes_every_nth_frame_and_needs_no_frame_after_the_last_one() -> None:
    assert frames(Sampling(3, frame_step=2), 11) == [(0, 2, 4), (6, 8, 10)]
    assert frames(Sampling(3, frame_step=2), 10) == [(0, 2, 4)]


def test_a_window_is_sampled_evenly() -> None:
    assert frames(Sampling(4, window=8), 16) == [(0, 2, 4, 6), (8, 10, 12, 14)]
    assert frames(Sampling(4, window=6), 6) == [(0, 1, 3, 4)]
    assert frames(Sampling(4, window=2), 4) == [(0, 0, 1, 1), (2, 2, 3, 3)]


@given(
    clip=st.integers(1, 20),
    frame_step=st.integers(1, 4),
    step=st.none() | st.integers(1, 40),
    count=st.integers(0, 120),
)
def test_sliding_clips_are_exactly_those_that_fit(clip: int, frame_step: int, step: int | None, count: int) -> None:
    sampling = Sampling(clip, frame_step, step=step, short="skip")
    stride = step or clip * frame_step
    expected = [
        tuple(range(first, first + clip * frame_step, frame_step))
        for first in range(0, count, stride)
        if first + (clip - 1) * frame_step < count
    ]
    spans, needed = plan(sampling, constant(count))
    assert [span.frames for span in spans] == expected
    assert [span.index for span in spans] == [*range(len(spans))]
    assert {frame for span in spans for frame in span.frames} <= needed


@given(clip=st.integers(1, 16), clips=st.integers(1, 12), count=st.integers(1, 200), frame_step=st.integers(1, 3))
def test_clips_evenly_over_a_video_are_those_of_mmaction2(clip: int, clips: int, count: int, frame_step: int) -> None:
    sampling = Sampling(clip, frame_step, clips=clips)
    room = max(count - ((clip - 1) * frame_step + 1), 0)
    offsets = np.round(np.arange(clips) * (room / max(clips - 1, 1))) if clips > 1 else np.array([room // 2])
    indices = offsets.astype(int)[:, None] + np.arange(clip) * frame_step
    got = frames(sampling, count)
    if count >= (clip - 1) * frame_step + 1:
        # float64 rounds some halves to the other side
        assert np.abs(np.array(got) - indices).max() <= (room * 2 % max(clips - 1, 1) == 0)
        assert len(got) == clips
        assert got[-1][-1] < count
    else:
        assert len(got) == 1
        if frame_step == 1:  # its `loop` takes the frame numbers modulo the number of frames
            assert np.array_equal(got[0], indices[0] % count)


@given(
    gaps=st.lists(st.integers(1, 200), min_size=1, max_size=60),
    clip=st.integers(1, 16),
    window=st.integers(1, 3000),
    step=st.integers(20, 3000),
)
def test_windows_in_seconds_show_what_a_player_shows(gaps: list[int], clip: int, window: int, step: int) -> None:
    stamps = [Fraction(0)]
    for gap in gaps:
        stamps.append(stamps[-1] + Fraction(gap, 1000))
    sampling = Sampling(clip, window=Seconds(Fraction(window, 1000)), step=Seconds(Fraction(step, 1000)), short="skip")
    shown = [float(stamp) for stamp in stamps[:-1]]
    expected: list[tuple[int, ...]] = []
    begun = -1
    for number in range(10**6):
        start = Fraction(number * step, 1000)
        if start + Fraction(window, 1000) > stamps[-1]:
            break
        times = [start + Fraction(k * window, 1000 * clip) for k in range(clip)]
        picked = tuple(bisect_right(stamps, time, hi=len(stamps) - 1) - 1 for time in times)
        if picked[0] > begun:
            expected.append(picked)
            begun = picked[0]
    spans, needed = plan(sampling, stamps)
    assert [span.frames for span in spans] == expected, shown
    assert {frame for span in spans for frame in span.frames} <= needed


@pytest.mark.parametrize("fps", [10, 24, 25, Fraction(30000, 1001), 30, 60])
def test_seconds_and_frames_agree_where_the_frame_rate_is_constant(fps: Fraction | int) -> None:
    window = Fraction(8) / fps
    timed = Sampling(4, window=Seconds(window), step=Seconds(window / 2))
    counted = Sampling(4, window=8, step=4)
    stamps = constant(40, fps)
    milliseconds = [Fraction(round(stamp * 1000), 1000) for stamp in stamps]  # as Matroska stores them
    expected = plan(counted, stamps)[0]
    assert plan(timed, stamps)[0] == expected
    assert plan(timed, milliseconds, tick=Fraction(1, 1000))[0] == expected


def test_a_jump_in_time_begins_one_clip() -> None:
    stamps = [Fraction(0), Fraction(1), Fraction(10**12), Fraction(10**12 + 1)]
    spans, _ = plan(Sampling(2, window=Seconds(Fraction(1)), step=Seconds(Fraction(1, 1000))), stamps)
    assert [span.frames for span in spans] == [(0, 0), (1, 1), (2, 2)]


@pytest.mark.parametrize(
    ("short", "expected"),
    [("repeat", [(0, 1, 2, 0, 1, 2, 0)]), ("pad", [(0, 1, 2, 2, 2, 2, 2)]), ("skip", [])],
)
@pytest.mark.parametrize("clips", [None, 3])
def test_a_video_shorter_than_one_clip(short: Short, clips: int | None, expected: list[tuple[int, ...]]) -> None:
    spans, _ = plan(Sampling(7, clips=clips, short=short), constant(3))
    assert [span.frames for span in spans] == expected
    assert [span.repeated for span in spans] == [4] * len(expected)


def test_a_video_shorter_than_a_window_in_seconds() -> None:
    stamps = constant(8)  # 0.32 s
    policies: list[tuple[Short, tuple[int, ...]]] = [
        ("repeat", (0, 3, 6, 0, 3, 6, 0, 3)),
        ("pad", (0, 3, 6, 6, 6, 6, 6, 6)),
    ]
    for short, expected in policies:
        sampling = Sampling(8, window=Seconds(Fraction(1)), short=short)  # shown at 0, 0.125 and 0.25 s
        assert plan(sampling, stamps)[0] == [Span(0, expected, repeated=5)]


def test_a_video_that_ends_before_its_count_fills_the_clips_it_began() -> None:
    planner = ClipPlanner(Sampling(4, clips=3), place_evenly(12, Sampling(4, clips=3)))  # begin at 0, 4, 8
    complete = [span for start, end in pairwise(constant(6)) for span in planner.add(start, end).complete]
    assert [span.frames for span in complete] == [(0, 1, 2, 3)]
    assert planner.finish() == (Span(1, (4, 5, 4, 5), repeated=2),)


@given(clip=st.integers(1, 8), step=st.integers(1, 20), count=st.integers(1, 80))
def test_frames_before_the_oldest_are_never_asked_for_again(clip: int, step: int, count: int) -> None:
    planner = ClipPlanner(Sampling(clip, step=step))
    oldest = 0
    for start, end in pairwise(constant(count)):
        taken = planner.add(start, end)
        assert all(frame >= oldest for span in taken.complete for frame in span.frames)
        assert taken.oldest >= oldest
        oldest = taken.oldest
    assert all(frame >= oldest for span in planner.finish() for frame in span.frames)


def test_impossible_samplings() -> None:
    for make in (
        lambda: Sampling(0),
        lambda: Sampling(16, frame_step=0),
        lambda: Sampling(16, window=0),
        lambda: Sampling(16, step=-1),
        lambda: Sampling(16, clips=0),
        lambda: Sampling(16, step=Seconds(Fraction(0))),
    ):
        with pytest.raises(UsageError, match="must be"):
            make()
    with pytest.raises(UsageError, match="evenly"):
        Sampling(16, clips=10, step=8)
    with pytest.raises(UsageError, match="at most 100,000 clips"):
        Sampling(16, clips=10**9)
    with pytest.raises(UsageError, match="unknown policy"):
        Sampling(16, short="drop")  # pyright: ignore[reportArgumentType]
