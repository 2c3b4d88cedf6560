"""Clips to calibrate with: which ones, that the held-out ones are others, and what bad input is told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.framed import CLIP_SIZE, small
from helpers.videos import noise, write_video
from numpy.typing import NDArray

from exporter.calibration_clips import PACKAGED_CLIPS, CalibrationClips
from exporter.errors import BadInputError, C3DExportError, UsageError, VideoError
from exporter.types import CalibrationOptions
from exporter.workflows.calibration import DEFAULT_BYTES, DEFAULT_SAMPLES, MAX_BYTES, make_calibration
from models.preprocessing.module import PreprocessingModule
from models.preprocessing.network import with_preprocessing
from models.preprocessing.profiles import MMACTION2, UNKNOWN
from models.preprocessing.recipe import Preprocessing
from models.specs import TensorSpec

LENGTH, HEIGHT, WIDTH = CLIP_SIZE
PLAIN = Preprocessing("plain", "BGR", 1.0, (10.0, 20.0, 30.0), (WIDTH, HEIGHT), (0, 0), "a test", (2.0, 4.0, 5.0))
"""Frames of the clip's size stay as they are, so that a clip's values say which frames it is made of."""
MODEL = small(PLAIN)


def plain_clip(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What `PLAIN` makes of frames (T, 112, 112, 3), by its definition: BGR, less the mean, divided by the deviation."""
    values = (frames[..., ::-1].astype(np.float64) - [10, 20, 30]) / [2, 4, 5]
    return values.transpose(3, 0, 1, 2)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[np.uint8]]:
    """{path: frames} of four videos of 8 frames, in one folder."""
    folder = tmp_path_factory.mktemp("videos")
    made: dict[str, NDArray[np.uint8]] = {}
    for number in range(4):
        frames = noise(8, HEIGHT, WIDTH, seed=number)
        made[str(write_video(folder / f"{number}.mkv", frames))] = frames
    return made


def calibrate(*clips: str | Path, samples: int | None = None) -> CalibrationClips:
    return make_calibration(MODEL, CalibrationOptions(clips, samples))


def find(clip: NDArray[np.float32], videos: dict[str, NDArray[np.uint8]]) -> tuple[str, int]:
    """Return the video and the first frame that a clip is made of."""
    for path, frames in videos.items():
        for first in range(len(frames) - LENGTH + 1):
            if np.allclose(plain_clip(frames[first : first + LENGTH]), clip, atol=1e-4):
                return path, first
    raise AssertionError("a clip of no video")


def test_clips_are_frames_of_the_videos_and_held_out_ones_are_of_other_videos(
    videos: dict[str, NDArray[np.uint8]],
) -> None:
    found = calibrate(Path(next(iter(videos))).parent, samples=8)
    used = [find(clip, videos) for clip in found.calibration]
    verified = [find(clip, videos) for clip in found.held_out]
    assert len({*used}) == 6
    assert len({*verified}) == 2
    assert not {path for path, _ in used} & {path for path, _ in verified}
    assert len({path for path, _ in used}) == 3
    assert found.description == "6 clips of 3 videos, 2 clips of other videos held out"
    assert found.names == tuple(f"{Path(path).name} frame {first}" for path, first in verified)


def test_files_beside_the_videos_of_a_folder_are_named(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", noise(8, HEIGHT, WIDTH, seed=0))
    (tmp_path / "labels.csv").touch()
    (note,) = (note for note in calibrate(tmp_path).notes if "labels.csv" in note)
    assert note.startswith(f"--calibrate {tmp_path}: 1 file without the suffix of videos left out: ")


def test_of_one_video_the_last_part_is_held_out_and_shares_no_frame(videos: dict[str, NDArray[np.uint8]]) -> None:
    path = next(iter(videos))
    found = calibrate(path)
    used = [find(clip, videos)[1] for clip in found.calibration]
    verified = [find(clip, videos)[1] for clip in found.held_out]
    assert used == [0, 1, 2, 3, 4]
    assert verified == [6]
    assert max(used) + LENGTH <= min(verified)


def test_the_same_options_give_the_same_clips_and_hash(videos: dict[str, NDArray[np.uint8]]) -> None:
    once, again, other = calibrate(*videos), calibrate(*videos), calibrate(*videos, samples=4)
    np.testing.assert_array_equal(once.calibration, again.calibration)
    assert once.sha256 == again.sha256 != other.sha256


def test_a_list_names_videos(videos: dict[str, NDArray[np.uint8]], tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(videos), "utf-8")
    assert calibrate(listed).sha256 == calibrate(*videos).sha256


def test_more_videos_than_samples_are_taken_evenly(videos: dict[str, NDArray[np.uint8]]) -> None:
    found = calibrate(*videos, samples=2)
    assert (len(found.calibration), len(found.held_out)) == (1, 1)


def test_with_preprocessing_inside_the_frames_of_held_out_clips_are_kept(
    videos: dict[str, NDArray[np.uint8]],
) -> None:
    path = next(iter(videos))
    found = make_calibration(with_preprocessing(MODEL), CalibrationOptions((path,)))
    np.testing.assert_array_equal(found.frames[0], videos[path][6:8])
    np.testing.assert_array_equal(found.held_out, calibrate(path).held_out)


def test_large_frames_are_reduced_and_the_clip_is_made_of_what_is_kept(tmp_path: Path) -> None:
    path = write_video(tmp_path / "large.mkv", noise(4, 600, 800))
    model = with_preprocessing(small(MMACTION2))
    found = make_calibration(model, CalibrationOptions((path,)))
    (frames,) = found.frames
    assert frames.shape == (LENGTH, 300, 400, 3)
    expected = PreprocessingModule(MMACTION2, CLIP_SIZE).eval()(torch.from_numpy(frames)[None]).numpy()
    np.testing.assert_allclose(found.held_out, expected, atol=1e-4)


def test_without_clips_the_packaged_one_is_held_out_and_a_note_says_so() -> None:
    found = make_calibration(MODEL, CalibrationOptions())
    assert found.names == ("video",)
    assert found.description == PACKAGED_CLIPS
    assert len(found.notes) == 1
    assert not any(np.array_equal(clip, found.held_out[0]) for clip in found.calibration)


def test_a_network_that_takes_no_video_is_calibrated_on_noise_or_on_its_own_inputs(tmp_path: Path) -> None:
    model = replace(MODEL, preprocessing=None)
    found = make_calibration(model, CalibrationOptions())
    assert found.description == "noise"
    rows = np.random.default_rng(0).standard_normal((8, 3, *CLIP_SIZE)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", rows)
    own = make_calibration(model, CalibrationOptions((tmp_path / "rows.npz",)))
    np.testing.assert_array_equal(own.calibration, rows[:6])
    np.testing.assert_array_equal(own.held_out, rows[6:])
    assert [note for note in own.notes if "accuracy on only 2 held-out clips proves little" in note] == [*own.notes]
    np.savez(tmp_path / "rows.npz", np.concatenate([rows, 2 * rows]))
    assert make_calibration(model, CalibrationOptions((tmp_path / "rows.npz",))).notes == ()


def test_the_default_number_is_bounded_by_memory(tmp_path: Path) -> None:
    spec = TensorSpec("x", "float32", ("batch", 1 << 24))  # 64 MiB a row
    np.savez(tmp_path / "rows.npz", np.arange(36, dtype=np.float32).reshape(9, 4))
    model = replace(MODEL, preprocessing=None, input=replace(spec, shape=("batch", 4)))
    assert len(make_calibration(model, CalibrationOptions((tmp_path / "rows.npz",))).calibration) == 7
    large = replace(MODEL, preprocessing=None, input=spec)
    with pytest.raises(BadInputError):  # the limit lets it through, and the file is of another shape
        make_calibration(large, CalibrationOptions((tmp_path / "rows.npz",)))
    with pytest.raises(UsageError, match=f"at most {MAX_BYTES >> 26} "):
        make_calibration(large, CalibrationOptions((tmp_path / "rows.npz",), 100))
    assert DEFAULT_SAMPLES * 4 * 3 * 16 * 112 * 112 < DEFAULT_BYTES


def refused(error: type[C3DExportError], match: str, *clips: str | Path, profile: Preprocessing = PLAIN) -> None:
    with pytest.raises(error, match=match) as raised:
        make_calibration(small(profile), CalibrationOptions(clips))
    assert "\n" not in str(raised.value)


def test_a_video_under_two_names_is_one_video(videos: dict[str, NDArray[np.uint8]], tmp_path: Path) -> None:
    first, second, *_ = videos
    copy = tmp_path / "copy.mkv"
    copy.write_bytes(Path(first).read_bytes())
    assert calibrate(first, copy, first).sha256 == calibrate(first).sha256
    found = calibrate(first, second, copy)
    assert found.sha256 == calibrate(first, second).sha256
    assert any("copy.mkv is 0.mkv" in note for note in found.notes)


def test_a_clip_that_is_calibrated_on_judges_nothing(tmp_path: Path) -> None:
    clip = plain_clip(noise(LENGTH, HEIGHT, WIDTH)).astype(np.float32)
    np.savez(tmp_path / "same.npz", clip=np.stack([clip] * 4))
    with pytest.raises(BadInputError, match="equal to a calibration clip"):
        calibrate(tmp_path / "same.npz")
    other = plain_clip(noise(LENGTH, HEIGHT, WIDTH, seed=1)).astype(np.float32)
    np.savez(tmp_path / "one.npz", clip=np.stack([clip] * 7 + [other]))
    found = calibrate(tmp_path / "one.npz")
    np.testing.assert_array_equal(found.held_out, [other])
    assert found.names == ("one.npz row 7",)


def test_bad_videos(videos: dict[str, NDArray[np.uint8]], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(VideoError, "names no videos", tmp_path / "empty")
    refused(VideoError, "missing", tmp_path / "missing.mp4")
    (tmp_path / "damaged.mp4").write_bytes(b"\x00" * 1000)
    refused(VideoError, "damaged", *videos, tmp_path / "damaged.mp4")
    refused(VideoError, "too few clips", write_video(tmp_path / "three.mkv", noise(3)))
    refused(VideoError, "shorter than one clip", write_video(tmp_path / "one.mkv", noise(1)))
    refused(UsageError, "camera", "camera:0")
    refused(UsageError, "--preprocess", *videos, profile=UNKNOWN)


def test_short_videos_are_left_out_and_named(videos: dict[str, NDArray[np.uint8]], tmp_path: Path) -> None:
    found = calibrate(*videos, write_video(tmp_path / "one.mkv", noise(1)))
    assert found.sha256 == calibrate(*videos).sha256
    assert any("one.mkv" in note for note in found.notes)


def test_bad_arrays(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).uniform(-4, 44, (4, 3, *CLIP_SIZE)).astype(np.float32)
    path = tmp_path / "rows.npz"

    def given(values: NDArray[np.float32]) -> Path:
        np.savez(path, values)
        return path

    assert len(calibrate(given(rows)).calibration) == 3
    for bad in (np.nan, np.inf):
        faulty = rows.copy()
        faulty[2, 0, 0, 5, 5] = bad
        refused(BadInputError, "clip 2 holds NaN or infinities", given(faulty))
    refused(BadInputError, "profile plain", given(rows * np.float32(3)))
    refused(BadInputError, "profile plain", given(rows / np.float32(255)))
    refused(BadInputError, "expected", given(rows[:, :, :, :50]))
    refused(VideoError, "too few clips", given(rows[:1]))
    with pytest.raises(UsageError, match="give videos"):
        make_calibration(with_preprocessing(MODEL), CalibrationOptions((path,)))
    with pytest.raises(UsageError, match="no RGB video"):
        make_calibration(replace(MODEL, preprocessing=None), CalibrationOptions(("a.mp4",)))
    with pytest.raises(UsageError) as unknown:
        make_calibration(replace(MODEL, preprocessing=UNKNOWN), CalibrationOptions(("a.mp4",)))
    assert {"jfzhang95", "caffe-sports1m", "gluoncv"} <= set(str(unknown.value).replace(",", "").split())


def test_a_mean_that_is_not_finite_is_refused(videos: dict[str, NDArray[np.uint8]]) -> None:
    mean = np.zeros((3, *CLIP_SIZE), np.float32)
    mean[0, 0, 0, 0] = np.nan
    with pytest.raises(BadInputError, match="NaN"):
        make_calibration(replace(MODEL, mean_cube=mean), CalibrationOptions((*videos,)))
