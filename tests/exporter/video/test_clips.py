"""Which videos `--clip` names, and how their frames are taken."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from exporter.errors import BadInputError
from exporter.parity.inputs import make_video_inputs
from exporter.types import ParityOptions
from exporter.video.clips import decode, find_videos, packaged_frames
from models.config import C3DConfig
from models.preprocessing import UNKNOWN

BIKES = Path(__file__).parents[2] / "data" / "bikes.mp4"


def test_a_folders_files_by_name_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.mp4", ".hidden", "a.avi"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    assert [path.name for path in find_videos(tmp_path)] == ["a.avi", "b.mp4"]


@pytest.mark.parametrize("content", [b"", b"# nothing\n\n", b"\xff\xfe"])
def test_a_list_that_names_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(BadInputError, match=r"list.txt: (names no videos|not a list of videos)"):
        find_videos(tmp_path / "list.txt")


def test_a_list_is_relative_to_itself_and_may_point_anywhere(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"  mine.mp4  \n# theirs\n{BIKES}\r\n")
    assert find_videos(tmp_path / "list.txt") == [tmp_path / "mine.mp4", BIKES]
    assert find_videos(Path("none.txt")) == [Path("none.txt")]  # reported as a missing video when it is decoded


def test_two_videos_of_one_name_get_different_names(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        shutil.copy(BIKES, tmp_path / folder / "bikes.mp4")
    options = ParityOptions(input_types=("zeros",), clips=(tmp_path / "one", tmp_path / "two" / "bikes.mp4"))
    pool = make_video_inputs(C3DConfig().input, UNKNOWN, options)
    assert pool.names == ("zeros", "bikes.mp4", str(tmp_path / "two" / "bikes.mp4"))
    assert np.array_equal(pool.feeds[1]["clip"], pool.feeds[2]["clip"])
    assert [*pool.frames] == [1, 2]


def test_a_frame_step_takes_every_nth_frame() -> None:
    every = decode(BIKES, np.copy, frames=32)
    assert np.array_equal(decode(BIKES, np.copy, frames=16, frame_step=2), every[::2])
    with pytest.raises(BadInputError, match="11 frames, but a clip has 16"):
        decode(BIKES, np.copy, frames=16, frame_step=3)


def test_the_packaged_clip_is_real() -> None:
    frames = packaged_frames()
    assert (frames.shape, frames.dtype) == ((16, 128, 171, 3), np.uint8)
    assert 1 < np.abs(np.diff(frames.astype(np.int16), axis=0)).mean() < 60  # it moves, and is not noise


def test_more_packaged_frames_than_there_are_run_backwards_and_forwards() -> None:
    frames = packaged_frames()
    longer = packaged_frames(40)
    assert np.array_equal(longer[:16], frames)
    assert np.array_equal(longer[16:32], frames[::-1])
    assert np.array_equal(longer[32:], frames[:8])
    assert np.array_equal(packaged_frames(3), frames[:3])
