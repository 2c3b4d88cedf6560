"""Frames decoded ahead: the same frames and errors, few in memory, and nothing runs after `close`."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from helpers.videos import write_video

from exporter.errors import VideoError
from exporter.video import ahead
from exporter.video.ahead import FramesAhead
from exporter.video.reader import open_video
from exporter.video.sampling import Sampling
from exporter.video.types import VideoSummary

BIKES = Path(__file__).parents[2] / "data" / "bikes.mp4"


def go() -> None:
    """Let decoding go on at once."""


class Plane:
    buffer_size = 1000


class Picture:
    planes: tuple[Plane, ...] = (Plane(), Plane())


def make_frames(taken: list[int], count: int, error: Exception | None = None) -> Iterator[Any]:
    for number in range(count):
        taken.append(number)
        yield Picture()
    if error is not None:
        raise error


def read(
    path: Path, *, decode_ahead: bool
) -> tuple[list[np.ndarray[Any, Any]], list[tuple[float, float]], VideoSummary, str]:
    """Return the clips of a video, their times, what its summary says, and why it ended."""
    clips, times, error = [], [], ""
    with open_video(path, wait=go if decode_ahead else None) as video:
        try:
            for clip in video.clips(Sampling(4)):
                clips.append(clip.frames.copy())
                times.append((clip.start, clip.end))
        except VideoError as caught:
            error = str(caught)
    return clips, times, video.summary, error


def damaged(content: bytes, seed: int) -> bytes:
    """Return a file with some of its bytes replaced, past its header."""
    random = np.random.default_rng(seed)
    values = np.frombuffer(content, np.uint8).copy()
    values[random.integers(len(values) // 8, len(values), 40)] = random.integers(0, 256, 40)
    return values.tobytes()


@pytest.mark.parametrize("seed", [None, 1, 2, 3, 4])
def test_frames_times_and_notes_are_those_of_decoding_in_turn(tmp_path: Path, seed: int | None) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(BIKES.read_bytes() if seed is None else damaged(BIKES.read_bytes(), seed))
    expected, found = read(path, decode_ahead=False), read(path, decode_ahead=True)
    assert len(expected[0]) >= 5
    assert all(np.array_equal(*pair) for pair in zip(expected[0], found[0], strict=True))
    assert found[1:] == expected[1:]
    assert bool(found[2].notes) == (seed is not None)


@pytest.mark.parametrize(("max_bytes", "most"), [(1, 1), (6000, 3), (1 << 20, 8)])
def test_few_frames_wait(monkeypatch: pytest.MonkeyPatch, max_bytes: int, most: int) -> None:
    monkeypatch.setattr(ahead, "MAX_BYTES", max_bytes)
    taken: list[int] = []
    frames = FramesAhead(make_frames(taken, 30), go)
    next(frames)
    settled = threading.Event()
    settled.wait(0.2)
    assert len(taken) == 1 + most
    assert sum(1 for _ in frames) == 29
    frames.close()


def test_frames_that_become_larger_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream may change its resolution: the size of its first frame says nothing of the others."""
    monkeypatch.setattr(ahead, "MAX_BYTES", 10_000)
    taken: list[int] = []

    class Large:
        planes = (*[Plane()] * 9,)

    def grow() -> Iterator[Any]:
        for number in range(20):
            taken.append(number)
            yield Picture() if number < 2 else Large()

    frames = FramesAhead(grow(), go)
    for number in range(20):
        next(frames)
        threading.Event().wait(0.02)
        assert len(taken) <= 1 + number + (3 if number < 2 else 1)
    frames.close()


def test_frames_that_became_larger_do_not_keep_it_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "MAX_BYTES", 100_000)
    pictures = [Picture(), Picture(), Picture(), Picture()]
    pictures[3].planes = (Plane(),) * 200  # more than three of the others have to be taken
    running = threading.active_count()
    frames = FramesAhead(cast("Any", iter(pictures * 2)), go)
    threading.Event().wait(0.05)
    closing = threading.Thread(target=frames.close, daemon=True)
    closing.start()
    closing.join(5)
    assert threading.active_count() == running


def test_an_error_comes_after_the_frames_before_it() -> None:
    frames = FramesAhead(make_frames([], 3, VideoError("a: cannot be read")), go)
    assert len([next(frames) for _ in range(3)]) == 3
    with pytest.raises(VideoError, match="cannot be read"):
        next(frames)
    assert next(frames, None) is None
    frames.close()


def test_decoding_waits_and_ends_when_it_is_closed() -> None:
    running = threading.active_count()
    taken: list[int] = []
    allowed = threading.Semaphore(2)
    frames = FramesAhead(make_frames(taken, 30), cast("Any", allowed.acquire))
    assert [next(frames), next(frames)]
    threading.Event().wait(0.1)
    assert taken == [0, 1]
    allowed.release()
    frames.close()
    assert taken == [0, 1]
    assert threading.active_count() == running


def test_a_video_that_is_no_video_leaves_no_thread(tmp_path: Path) -> None:
    running = threading.active_count()
    path = write_video(tmp_path / "a.mkv", np.zeros((3, 32, 32, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(VideoError):
        open_video(path, wait=go)
    assert threading.active_count() == running


def test_a_first_frame_that_cannot_be_used_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg decodes on at that moment."""

    def refuse(_converter: object, _frame: object) -> None:
        raise VideoError("of no size")

    monkeypatch.setattr("exporter.video.decoder.FrameConverter.size", refuse)
    running = threading.active_count()
    with pytest.raises(VideoError, match="of no size"):
        open_video(write_video(tmp_path / "a.mkv", np.zeros((40, 32, 32, 3), np.uint8)), wait=go)
    assert threading.active_count() == running
