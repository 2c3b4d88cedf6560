"""Inputs: seeded, of every input type, with a real video and the user's own."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from helpers.clips import make_clip
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from exporter.errors import BadInputError, UsageError, VideoError
from exporter.parity.input_set import InputSet
from exporter.parity.input_types import INPUT_TYPES
from exporter.parity.inputs import make_frame_inputs, make_video_inputs
from exporter.types import QUICK, InputOptions, ParityOptions
from exporter.video.packaged import packaged_frames
from models.built_model import BuiltModel
from models.config import C3DConfig
from models.preprocessing.profiles import HX173149, JFZHANG95, UNKNOWN
from models.specs import frames_input

BIKES = Path(__file__).parents[2] / "data" / "bikes.mp4"


def bikes() -> NDArray[np.uint8]:
    with av.open(str(BIKES)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames[:16]).astype(np.uint8)


def rows(made: InputSet) -> NDArray[np.float32]:
    return made.select(range(len(made.names)))["clip"]


def clips(made: InputSet) -> dict[str, NDArray[np.float32]]:
    return dict(zip(made.names, rows(made), strict=True))


def test_every_input_type_has_its_distribution() -> None:
    made = make_video_inputs(C3DConfig().input, UNKNOWN, ParityOptions())
    assert {*made.names} == {*INPUT_TYPES} - {"ties"}  # of decoded frames
    clip = clips(made)
    assert rows(made).dtype == np.float32
    assert abs(clip["random"].mean()) < 0.01
    assert clip["random"].std() == pytest.approx(1, abs=0.01)
    assert not clip["zeros"].any()
    assert set(np.unique(clip["saturated"])) == {0, 255}
    assert np.isnan(clip["nan"]).sum() == 1
    assert np.count_nonzero(clip["impulse"]) == 1
    assert 0 < np.abs(clip["denormal"]).max() < np.finfo(np.float32).tiny
    assert 0.009 < np.count_nonzero(clip["sparse"]) / clip["sparse"].size < 0.011
    assert 0 <= clip["video"].min() < 50
    assert 200 < clip["video"].max() <= 255
    assert made.frames[made.names.index("video")].shape == (16, 112, 112, 3)


def test_quick_input_types_come_in_a_fixed_order() -> None:
    assert make_video_inputs(C3DConfig().input, UNKNOWN, ParityOptions(input_types=QUICK)).names == (
        "random",
        "saturated",
        "zeros",
        "video",
    )


def test_the_seed_and_the_samples_decide_the_clips(narrow: BuiltModel, inputs: InputSet) -> None:
    drawn = [
        make_video_inputs(narrow.input, UNKNOWN, ParityOptions(seed=seed, samples=2, input_types=("random",)))
        for seed in (0, 0, 1)
    ]
    first, same, other = map(rows, drawn)
    assert drawn[0].names == ("random", "random")
    assert np.array_equal(first, same)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, other)
    assert np.array_equal(first[0], rows(inputs)[0])


def test_an_unknown_input_type_is_refused() -> None:
    with pytest.raises(UsageError, match="--inputs noise: unknown input type; choose all, quick, or from random"):
        make_video_inputs(C3DConfig().input, UNKNOWN, ParityOptions(input_types=("noise",)))


def test_a_users_arrays(tmp_path: Path) -> None:
    mine = np.random.default_rng(0).random((2, 3, 16, 112, 112))
    np.savez(tmp_path / "mine.npz", anything=mine)
    made = make_video_inputs(
        C3DConfig().input,
        UNKNOWN,
        ParityOptions(input_types=("zeros",), inputs=InputOptions(arrays=(tmp_path / "mine.npz",))),
    )
    assert made.names == ("zeros", "mine.npz row 0", "mine.npz row 1")
    assert np.array_equal(rows(made)[1:], mine.astype(np.float32))
    np.savez(tmp_path / "bad.npz", clip=mine[:, :, :8])
    with pytest.raises(BadInputError, match="clip has shape .2, 3, 8, 112, 112.; expected .rows, 3, 16, 112, 112."):
        make_video_inputs(
            C3DConfig().input, UNKNOWN, ParityOptions(inputs=InputOptions(arrays=(tmp_path / "bad.npz",)))
        )


def test_the_packaged_frames_are_the_first_of_the_video() -> None:
    planes = torch.from_numpy(bikes()).permute(0, 3, 1, 2)
    resized = interpolate(planes, size=(128, 171), mode="bilinear", align_corners=False, antialias=True)
    assert np.array_equal(packaged_frames(), resized.permute(0, 2, 3, 1).numpy())


def test_a_users_video_is_preprocessed_as_the_weights_expect() -> None:
    made = make_video_inputs(C3DConfig().input, JFZHANG95, ParityOptions(input_types=QUICK, clips=(BIKES,)))
    assert np.array_equal(clips(made)["bikes.mp4"], make_clip(JFZHANG95, bikes(), (16, 112, 112)))


def test_videos_of_one_name_get_different_names(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        shutil.copy(BIKES, tmp_path / folder / "bikes.mp4")
    options = ParityOptions(input_types=("zeros",), clips=(tmp_path / "one", tmp_path / "two" / "bikes.mp4"))
    made = make_video_inputs(C3DConfig().input, UNKNOWN, options)
    assert made.names == ("zeros", "bikes.mp4", str(tmp_path / "two" / "bikes.mp4"))
    assert np.array_equal(clips(made)["bikes.mp4"], rows(made)[2])
    assert [*made.frames] == [1, 2]


def test_bad_videos() -> None:
    for name, line in (
        ("none.mp4", "no such video: none.mp4"),
        (str(BIKES), f"{BIKES}: 32 frames, but a clip needs 49"),
    ):
        profile = replace(JFZHANG95, frame_step=4)  # 16 frames, three between one and the next
        spec = replace(C3DConfig().input, shape=("batch", 3, 13, 112, 112))
        with pytest.raises(VideoError, match=re.escape(line)):
            make_video_inputs(spec, profile, ParityOptions(input_types=("zeros",), clips=(Path(name),)))


def test_frames_are_resized_for_profiles_of_another_size() -> None:
    made = make_video_inputs(C3DConfig().input, HX173149, ParityOptions(input_types=("video",)))
    assert np.array_equal(clips(made)["video"], make_clip(HX173149, packaged_frames(), (16, 112, 112)))
    assert made.frames[0].shape == (16, 112, 112, 3)


@pytest.mark.parametrize("framed", [False, True])
def test_files_beside_the_videos_of_a_folder_are_named(tmp_path: Path, *, framed: bool) -> None:
    shutil.copy(BIKES, tmp_path)
    (tmp_path / "labels.csv").touch()
    options = ParityOptions(input_types=("zeros",), clips=(tmp_path,))
    spec = C3DConfig().input
    made = (
        make_frame_inputs(frames_input(spec), JFZHANG95, options)
        if framed
        else make_video_inputs(spec, JFZHANG95, options)
    )
    (note,) = made.notes
    assert note.startswith(f"--clip {tmp_path}: 1 file without the suffix of videos left out: labels.csv; ")
