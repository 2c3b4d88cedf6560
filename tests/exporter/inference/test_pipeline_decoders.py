"""Decoders beside the model: how many, what they decode ahead, when they rest, and how they end."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from helpers.mean_model import SAMPLING, Array, MeanModel, describe, run

from exporter.inference import pipeline
from exporter.inference.model import VideoModel
from exporter.inference.pipeline import choose_decoders, run_videos
from exporter.inference.types import ClipOutputs, VideoEnd
from exporter.types import Device
from exporter.video.reader import Video, open_video
from exporter.video.sampling import Sampling
from exporter.video.sources import Source


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
