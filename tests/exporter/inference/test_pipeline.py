"""Videos in, outputs clip by clip: order, batches, failures. The model is a stand-in."""

from pathlib import Path

import numpy as np
import pytest
from helpers.colour_videos import read_frames, write_colours
from helpers.mean_model import Array, MeanModel, compute_mean, run

from exporter.errors import CheckFailedError
from exporter.inference import batches
from exporter.inference.types import ClipOutputs, VideoEnd


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
