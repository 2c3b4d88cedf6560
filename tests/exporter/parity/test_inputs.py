"""The clips: seeded, of the kinds promised, laid out for a free and a fixed batch, and a real video among them."""

import sys
from pathlib import Path

import numpy as np
import pytest

from exporter.errors import BadInputError, UnavailableError
from exporter.parity.inputs import ClipPool, decode, draw_clips, packaged_frames, resized
from models.preprocessing import HX173149, JFZHANG95, UNKNOWN

BIKES = Path(__file__).parents[2] / "data" / "bikes.mp4"


def test_the_kinds_are_what_they_say(pool: ClipPool) -> None:
    assert list(pool.members) == ["random", "zeros", "saturated", "video"]
    clip = {name: pool.clips[places[0]] for name, places in pool.members.items()}
    assert pool.clips.dtype == np.float32
    assert abs(clip["random"].mean()) < 0.01
    assert clip["random"].std() == pytest.approx(1, abs=0.01)
    assert not clip["zeros"].any()
    assert set(np.unique(clip["saturated"])) == {0, 255}
    assert 0 <= clip["video"].min() < 50
    assert 200 < clip["video"].max() <= 255


def test_the_seed_decides_the_clips(pool: ClipPool) -> None:
    assert np.array_equal(draw_clips(UNKNOWN).clips, pool.clips)
    assert not np.array_equal(draw_clips(UNKNOWN, seed=1).clips[0], pool.clips[0])


def test_a_free_batch_is_run_at_one_and_at_another(pool: ClipPool) -> None:
    batches = pool.batches(None)
    assert {(b.name, len(b.clips)) for b in batches} == {
        ("random", 1), ("random", 2), ("zeros", 1), ("saturated", 1), ("video", 1),
    }  # fmt: skip
    larger = next(b for b in batches if len(b.clips) == 2)
    assert larger.clips[0] != larger.clips[1]


def test_a_fixed_batch_is_filled(pool: ClipPool) -> None:
    assert [len(b.clips) for b in pool.batches(3)] == [3] * 4
    assert pool.batches(3)[0].clips == (0, 1, 0)


def test_the_packaged_frames_are_the_videos_first() -> None:
    assert np.array_equal(packaged_frames(), decode(BIKES, UNKNOWN))


def test_a_video_of_the_users_is_preprocessed_like_the_weights_want() -> None:
    pool = draw_clips(JFZHANG95, videos=(BIKES,))
    assert np.array_equal(pool.clips[pool.members["bikes.mp4"][0]], JFZHANG95.clip(decode(BIKES, UNKNOWN)))


def test_videos_of_one_name_and_of_our_names_are_all_kept(tmp_path: Path) -> None:
    places = [tmp_path / "a.mp4", tmp_path / "b" / "a.mp4", tmp_path / "random"]
    for place in places:
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(BIKES.read_bytes())
    pool = draw_clips(UNKNOWN, videos=tuple(places))
    assert len(pool.members) == 4 + 3
    assert len(pool.members["random"]) == 2


def test_bad_videos(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such video"):
        decode(tmp_path / "none.mp4", UNKNOWN)
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(BadInputError, match="not a video that can be decoded"):
        decode(tmp_path / "text.mp4", UNKNOWN)
    with pytest.raises(BadInputError, match="32 frames, a clip takes 64"):
        decode(BIKES, UNKNOWN, frames=64)


def test_without_pyav_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnavailableError, match=r"pip install 'c3d-export\[video\]'"):
        decode(BIKES, UNKNOWN)


def test_frames_are_resized_for_recipes_of_another_size() -> None:
    frames = packaged_frames()  # 171x128
    assert resized(frames, UNKNOWN) is frames
    smaller = resized(frames, HX173149)
    assert smaller.shape == (16, 112, 150, 3)
    assert abs(smaller.mean() - frames.mean()) < 1  # an average of neighbours keeps the mean
    assert draw_clips(HX173149).clips.shape[1:] == (3, 16, 112, 112)
