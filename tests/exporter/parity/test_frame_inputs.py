"""Frames for a model with its preprocessing inside: of several sizes, drawn and real, in batches of one size."""

from pathlib import Path

import numpy as np
import pytest

from exporter.errors import BadInputError, UsageError
from exporter.parity.input_set import InputSet
from exporter.parity.inputs import make_frame_inputs
from exporter.types import QUICK, ParityOptions
from models.config import C3DConfig
from models.preprocessing.profiles import GLUONCV, JFZHANG95
from models.specs import frames_input

BIKES = Path(__file__).parents[2] / "data" / "bikes.mp4"
SPEC = frames_input(C3DConfig().input)


@pytest.fixture(scope="module")
def made() -> InputSet:
    return make_frame_inputs(SPEC, JFZHANG95, ParityOptions(input_types=QUICK))


def sizes(made: InputSet) -> set[tuple[int, int]]:
    return {feed["frames"].shape[2:4] for feed in made.feeds}


def test_they_are_uint8_and_of_more_than_three_sizes(made: InputSet) -> None:
    assert {feed["frames"].dtype for feed in made.feeds} == {np.dtype(np.uint8)}
    assert all(feed["frames"].shape[:2] == (1, 16) and feed["frames"].shape[4] == 3 for feed in made.feeds)
    assert {(240, 320), (128, 171), (256, 342)} < sizes(made)
    assert any(height < 112 for height, _ in sizes(made))
    assert any(height > width for height, width in sizes(made))


def test_a_checkerboard_alternates_between_neighbouring_grey_levels(made: InputSet) -> None:
    board = made.feeds[made.names.index("ties")]["frames"].astype(int)[0, 0, :8, :8, 0]
    assert np.ptp(board) == 1
    assert np.abs(np.diff(board, axis=0)).min() == np.abs(np.diff(board, axis=1)).min() == 1


def test_batches_hold_rows_of_one_size(made: InputSet) -> None:
    dynamic, fixed = made.batches(None), made.batches(2)
    for batches, wanted in ((dynamic, {1, 2, 3}), (fixed, {2})):
        assert {len(batch.rows) for batch in batches} == wanted
        for batch in batches:
            assert made.select(batch.rows)["frames"].shape[0] == len(batch.rows)
    assert {row for batch in fixed for row in batch.rows} == set(range(len(made.names)))
    row = made.names.index("video")
    assert made.same_shape_rows(row) == (row,)


def test_the_same_seed_gives_the_same_frames(made: InputSet) -> None:
    again = make_frame_inputs(SPEC, JFZHANG95, ParityOptions(input_types=QUICK))
    other = make_frame_inputs(SPEC, JFZHANG95, ParityOptions(input_types=QUICK, seed=1))
    row = made.names.index("random")
    assert all(np.array_equal(a["frames"], b["frames"]) for a, b in zip(made.feeds, again.feeds, strict=True))
    assert not np.array_equal(made.feeds[row]["frames"], other.feeds[row]["frames"])


def test_a_users_video_is_taken_at_its_own_size_with_the_profiles_step() -> None:
    options = ParityOptions(input_types=("zeros",), clips=(BIKES,))
    every, second = (make_frame_inputs(SPEC, profile, options) for profile in (JFZHANG95, GLUONCV))
    assert every.names == ("zeros", "bikes.mp4")
    frames, stepped = every.frames[1], second.frames[1]
    assert frames.shape[0] == 16
    assert frames.shape == every.feeds[1]["frames"].shape[1:]
    assert np.array_equal(frames[::2], stepped[:8])


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown input type"):
        make_frame_inputs(SPEC, JFZHANG95, ParityOptions(input_types=("confetti",)))
    with pytest.raises(UsageError, match="no inputs"):
        make_frame_inputs(SPEC, JFZHANG95, ParityOptions(input_types=("sparse",)))
    with pytest.raises(BadInputError):
        make_frame_inputs(SPEC, JFZHANG95, ParityOptions(clips=(tmp_path / "none.mp4",)))
