"""Videos in, outputs clip by clip: order, batches, failures, memory and an early end. The model is a stand-in."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from helpers.colour_videos import read_frames, write_colours
from numpy.typing import NDArray

from exporter.errors import CheckFailedError
from exporter.inference import batches, pipeline
from exporter.inference.model import VideoModel
from exporter.inference.pipeline import choose_decoders, run_videos
from exporter.inference.types import ClipOutputs, VideoEnd
from exporter.types import Device
from exporter.video.reader import Video, open_video
from exporter.video.sampling import Sampling
from exporter.video.sources import Source

Array = NDArray[Any]
SAMPLING = Sampling(8)


def compute_mean(clips: Array) -> Array:
    return clips.reshape(len(clips), -1).mean(axis=1, keepdims=True)


@dataclass
class MeanModel:
    """Returns the mean of each clip's pixels."""

    device = "cpu"
    threads = None
    takes_turns = False
    batch: int = 1
    fixed_batch: bool = False
    compute: Callable[[Array], Array] = compute_mean
    sizes: list[int] = field(default_factory=list[int])

    def transform(self, frame: Array) -> Array:
        return frame[::4, ::4].astype(np.float32)

    def to_input(self, frames: Array) -> Array:
        return frames

    def run(self, clips: Sequence[Array]) -> dict[str, Array]:
        self.sizes.append(len(clips))
        return {"mean": self.compute(np.stack(clips))}


def run(model: MeanModel, *paths: Path, sampling: Sampling = SAMPLING, **options: Any) -> list[ClipOutputs | VideoEnd]:
    sources = [Source(str(path), path.name) for path in paths]
    return list(run_videos(cast("VideoModel", model), sources, sampling, **options))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Videos of 5, 3 and 2 clips."""
    folder = tmp_path_factory.mktemp("videos")
    counts = {"a.mkv": 40, "b.mkv": 24, "c.avi": 17}
    made = [write_colours(folder / name, count, seed=seed) for seed, (name, count) in enumerate(counts.items())]
    return made[0], made[1], made[2]


def test_outputs_are_of_each_video_in_order_then_its_end(videos: tuple[Path, Path, Path]) -> None:
    model = MeanModel(batch=4)
    events = run(model, *videos)
    clips = [event for event in events if isinstance(event, ClipOutputs)]
    assert [(event.source, event.index) for event in clips] == [
        *[("a.mkv", index) for index in range(5)],
        *[("b.mkv", index) for index in range(3)],
        *[("c.avi", index) for index in range(2)],
    ]
    ends = {at: event for at, event in enumerate(events) if isinstance(event, VideoEnd)}
    assert [(at, end.source, end.clips, end.error) for at, end in ends.items()] == [
        (5, "a.mkv", 5, None),
        (9, "b.mkv", 3, None),
        (12, "c.avi", 2, None),
    ]
    assert model.sizes == [4, 4, 2]  # batches fill up across the ends of videos
    for event in clips:
        frames = read_frames(videos[event.number])[event.first : event.last + 1, ::4, ::4].astype(np.float32)
        assert np.array_equal(event.outputs["mean"], frames.reshape(1, -1).mean(axis=1))
    assert (clips[1].first, clips[1].last, clips[1].start, clips[1].end) == (8, 15, 8 / 25, 16 / 25)
    assert (ends[5].width, ends[5].height, ends[5].fps, ends[5].frames) == (64, 48, 25, 40)


def test_a_broken_video_ends_itself_only(videos: tuple[Path, Path, Path], tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    events = run(MeanModel(batch=3), videos[2], text, tmp_path / "none.mp4", videos[1])
    ends = [event for event in events if isinstance(event, VideoEnd)]
    assert [(end.source, end.clips, end.error is None) for end in ends] == [
        ("c.avi", 2, True),
        ("text.mp4", 0, False),
        ("none.mp4", 0, False),
        ("b.mkv", 3, True),
    ]
    assert [end.error.exit_code for end in ends if end.error] == [3, 3]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_ends_the_video(videos: tuple[Path, Path, Path], value: float) -> None:
    seen: list[int] = []

    def break_third(clips: Array) -> Array:
        seen.append(len(clips))
        return np.array([[value if sum(seen) == 3 else 1.0]])

    events = run(MeanModel(compute=break_third), videos[0], videos[1])
    ends = [event for event in events if isinstance(event, VideoEnd)]
    assert [(end.clips, type(end.error)) for end in ends] == [(2, CheckFailedError), (3, type(None))]
    assert "the clip at 0.64 s" in str(ends[0].error)
    assert len([event for event in events if isinstance(event, ClipOutputs)]) == 5


def test_a_batch_that_fails_is_run_clip_by_clip(videos: tuple[Path, Path, Path]) -> None:
    dark = read_frames(videos[1])[8:16, ::4, ::4].astype(np.float32).mean()

    def refuse(clips: Array) -> Array:
        if np.isclose(compute_mean(clips), dark, atol=1e-3).any():
            raise CheckFailedError("fails on it")
        return compute_mean(clips)

    events = run(MeanModel(batch=16, compute=refuse), *videos)
    ends = [event for event in events if isinstance(event, VideoEnd)]
    assert [(end.clips, str(end.error or "")) for end in ends] == [(5, ""), (1, "b.mkv: fails on it"), (2, "")]


def test_clips_of_another_size_are_a_batch_of_their_own(videos: tuple[Path, Path, Path], tmp_path: Path) -> None:
    large = write_colours(tmp_path / "large.mkv", 24, (96, 64))
    model = MeanModel(batch=16)
    events = run(model, videos[2], large)
    assert model.sizes == [2, 3]
    assert len(events) == 7


@pytest.mark.parametrize(("fixed", "sizes"), [(False, [2, 2, 1]), (True, [4, 1])])
def test_large_clips_make_smaller_batches_where_the_model_allows_it(
    fixed: bool, sizes: list[int], videos: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = np.zeros((8, *read_frames(videos[0]).shape[1:]), np.uint8)[:, ::4, ::4].astype(np.float32)
    monkeypatch.setattr(batches, "BATCH_BYTES", 2 * clip.nbytes)
    model = MeanModel(batch=4, fixed_batch=fixed)
    run(model, videos[0])
    assert model.sizes == sizes


def test_the_queue_bounds_what_is_decoded_ahead(
    videos: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "QUEUE_BYTES", 3 * 8 * 12 * 16 * 3 * 4)  # three clips
    decoded: list[int] = []

    class Counting(MeanModel):
        def to_input(self, frames: Array) -> Array:
            decoded.append(1)
            return frames

    model = Counting()
    ahead: list[int] = []
    sources = [Source(str(videos[0]), "a")]
    for number, event in enumerate(run_videos(cast("VideoModel", model), sources, Sampling(8, step=1))):
        if isinstance(event, ClipOutputs):
            ahead.append(len(decoded) - number)
    assert len(ahead) == 33
    assert max(ahead) <= 5  # three in the queue, one that waits for room, one at the model


@pytest.mark.parametrize("decoders", [2, 5])
def test_several_decoders_change_neither_the_order_nor_the_batches(
    videos: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoders: int
) -> None:
    monkeypatch.setattr(pipeline, "QUEUE_BYTES", 3 * 8 * 12 * 16 * 3 * 4)  # three clips
    monkeypatch.setattr(pipeline, "MAX_AHEAD", 3)
    (tmp_path / "text.mp4").write_text("no video")
    paths = [*videos, tmp_path / "text.mp4", tmp_path / "none.mp4", *videos * 3]
    one, several = MeanModel(batch=4), MeanModel(batch=4)
    expected, found = run(one, *paths, decoders=1), run(several, *paths, decoders=decoders)
    assert [describe(event) for event in found] == [describe(event) for event in expected]
    assert several.sizes == one.sizes


@pytest.mark.parametrize("decoders", [1, 3])
def test_turns_change_neither_outputs_nor_batches(
    videos: tuple[Path, Path, Path], tmp_path: Path, decoders: int
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "half.mkv").write_bytes(videos[0].read_bytes()[: videos[0].stat().st_size // 2])
    paths = [*videos, tmp_path / "text.mp4", tmp_path / "half.mkv", tmp_path / "none.mp4", *videos]
    beside, alternating = MeanModel(batch=4), MeanModel(batch=4)
    expected = run(beside, *paths, take_turns=False)
    found = run(alternating, *paths, take_turns=True, decoders=decoders)
    assert [describe(event) for event in found] == [describe(event) for event in expected]
    assert [event.notes for event in found if isinstance(event, VideoEnd)] == [
        event.notes for event in expected if isinstance(event, VideoEnd)
    ]
    assert alternating.sizes == beside.sizes


def test_decoders_rest_while_the_model_runs(videos: tuple[Path, Path, Path]) -> None:
    class Slow(MeanModel):
        decoded, meanwhile = 0, 0

        def transform(self, frame: Array) -> Array:
            Slow.decoded += 1
            return super().transform(frame)

        def run(self, clips: Sequence[Array]) -> dict[str, Array]:
            before = Slow.decoded
            threading.Event().wait(0.05)
            Slow.meanwhile = max(Slow.meanwhile, Slow.decoded - before)
            return super().run(clips)

    run(Slow(), *videos, take_turns=True)
    assert Slow.meanwhile <= 1  # the one that was being converted
    assert Slow.decoded == 40 + 24 + 17


def describe(event: ClipOutputs | VideoEnd) -> tuple[object, ...]:
    value = float(event.outputs["mean"][0]) if isinstance(event, ClipOutputs) else str(event.error)
    return event.source, event.number, value, getattr(event, "index", None)


@pytest.mark.parametrize("take_turns", [False, True])
@pytest.mark.parametrize("decoders", [1, 3])
def test_the_decoders_stop_when_the_caller_stops(
    videos: tuple[Path, Path, Path], decoders: int, take_turns: bool
) -> None:
    before = threading.active_count()
    sources = [Source(str(path), path.name) for path in videos * 20]
    events = run_videos(cast("VideoModel", MeanModel()), sources, SAMPLING, decoders=decoders, take_turns=take_turns)
    assert isinstance(next(events), ClipOutputs)
    events.close()
    assert threading.active_count() == before


def test_a_bug_in_decoding_is_raised_in_the_caller(videos: tuple[Path, Path, Path]) -> None:
    class Buggy(MeanModel):
        def to_input(self, frames: Array) -> Array:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(Buggy(), videos[0])


@pytest.mark.parametrize("take_turns", [False, True])
def test_an_engine_that_raises_ends_the_decoders(videos: tuple[Path, Path, Path], take_turns: bool) -> None:
    class Broken(MeanModel):
        def run(self, clips: Sequence[Array]) -> dict[str, Array]:
            if len(self.sizes) == 2:
                raise MemoryError
            return super().run(clips)

    before = threading.active_count()
    with pytest.raises(MemoryError):
        run(Broken(), *videos, decoders=2, take_turns=take_turns)
    assert threading.active_count() == before
    assert run(MeanModel(), take_turns=take_turns, decoders=2) == []  # no video at all
    assert threading.active_count() == before


def test_what_has_to_be_waited_for_does_not_take_turns(
    videos: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: dict[str, bool] = {}

    def open_noted(source: Source, transform: Any, wait: Callable[[], None] | None) -> Video:
        waits[source.name] = wait is not None
        return open_video(Source(str(videos[2]), source.name), transform, wait)

    monkeypatch.setattr(pipeline, "open_video", open_noted)
    sources = [Source("a.mkv", "file"), Source("0", "camera", kind="camera"), Source("https://a.org/a.mkv", "address")]
    model = MeanModel()
    model.takes_turns = True
    assert len([*run_videos(cast("VideoModel", model), sources, SAMPLING)]) == 9
    assert waits == {"file": True, "camera": False, "address": False}


def test_previews_are_the_middle_frames(videos: tuple[Path, Path, Path]) -> None:
    (clip, *_) = run(MeanModel(), videos[2], previews=True)
    assert isinstance(clip, ClipOutputs)
    assert clip.preview is not None
    assert np.array_equal(clip.preview, read_frames(videos[2])[4, ::4, ::4])


def test_progress_names_the_video_and_the_time(videos: tuple[Path, Path, Path]) -> None:
    steps: list[str] = []
    run(MeanModel(), videos[2], videos[1], progress=steps.append)
    assert steps[0].startswith("c.avi (1 of 2)")
    assert steps[-1] == "b.mkv (2 of 2): 0.6 s"


@pytest.mark.parametrize(
    ("device", "threads", "decoders"), [("cpu", None, 4), ("cpu", 8, 2), ("cpu", 1, 1), ("cuda", 1, 4)]
)
def test_a_decoder_for_every_four_cores_of_an_engine(
    monkeypatch: pytest.MonkeyPatch, device: Device, threads: int | None, decoders: int
) -> None:
    monkeypatch.setattr(pipeline, "available_cpus", lambda: 64)
    assert choose_decoders(device, threads) == decoders
    monkeypatch.setattr(pipeline, "available_cpus", lambda: 1)
    assert choose_decoders(device, threads) == 1
