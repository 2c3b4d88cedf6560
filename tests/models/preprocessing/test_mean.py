"""`--mean FILE`: a mean for each pixel, as origins store it."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.clips import make_clip
from helpers.protobuf_bytes import delimited, number
from numpy.typing import NDArray

from models.errors import BadInputError
from models.preprocessing.mean import fit_mean, load_mean
from models.preprocessing.profiles import CAFFE, HX173149
from models.preprocessing.recipe import Preprocessing
from models.preprocessing.selection import choose_profile, recorded_profile

SIZE = (2, 6, 8)
SMALL = replace(CAFFE, resize=(12, 9), crop=(1, 2))
CUBE = np.random.default_rng(0).uniform(0, 255, (3, 2, 9, 12)).astype(np.float32)
"""A mean of the frames of `SMALL`: (3, T, H, W)."""


def save(path: Path, array: NDArray[np.generic]) -> Path:
    np.save(path, array)
    return path


def blob(array: NDArray[np.float32], *, c3d: bool) -> bytes:
    """A BlobProto written by hand: num, channels, (length,) height, width, and the packed data."""
    sizes = array.shape if c3d else (array.shape[0], array.shape[1], *array.shape[3:])
    fields = b"".join(number(field, size) for field, size in enumerate(sizes, 1))
    return fields + delimited(len(sizes) + 1, struct.pack(f"<{array.size}f", *array.ravel()))


@pytest.mark.parametrize(
    "array",
    [
        CUBE,
        CUBE[None],
        CUBE.transpose(1, 2, 3, 0),
        CUBE.astype(np.float64),
        np.asfortranarray(CUBE),
    ],
    ids=["3THW", "13THW", "THW3", "float64", "Fortran"],
)
def test_every_layout_of_a_cube_is_read(array: NDArray[np.generic], tmp_path: Path) -> None:
    path = save(tmp_path / "mean.npy", array)
    loaded, record = load_mean(path)
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded, CUBE)
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (record.file, record.path) == ("mean.npy", str(path))


def test_a_mean_image_has_one_frame(tmp_path: Path) -> None:
    image = CUBE[:, :1]
    for name, array in (("chw", image[:, 0]), ("hwc", image[:, 0].transpose(1, 2, 0))):
        assert np.array_equal(load_mean(save(tmp_path / f"{name}.npy", array))[0], image)


def test_caffes_files_are_read_in_both_schemas(tmp_path: Path) -> None:
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(blob(CUBE[None], c3d=True))
    assert np.array_equal(load_mean(path)[0], CUBE)
    path.write_bytes(blob(CUBE[None, :, :1], c3d=False))
    assert np.array_equal(load_mean(path)[0], CUBE[:, :1])


def test_a_cube_of_whole_frames_is_cropped_as_they_are_and_subtracted(tmp_path: Path) -> None:
    chosen = choose_profile(SMALL, SIZE, mean=save(tmp_path / "mean.npy", CUBE))
    assert chosen.preprocessing is not None
    assert chosen.mean_cube is not None
    frames = np.random.default_rng(1).integers(0, 256, (2, 9, 12, 3), dtype=np.uint8)
    bgr = frames[..., ::-1].transpose(3, 0, 1, 2).astype(np.float32)
    expected = (bgr - CUBE)[:, :, 1:7, 2:10]  # as C3D-v1.0's data layer does it
    assert np.array_equal(make_clip(chosen.preprocessing, frames, SIZE, chosen.mean_cube), expected)
    assert chosen.notes == ()


@pytest.mark.parametrize("profile", [SMALL, HX173149], ids=lambda profile: profile.name)
def test_a_mean_of_the_window_is_taken_as_it_is(profile: Preprocessing, tmp_path: Path) -> None:
    window = CUBE[:, :, :6, :8]
    path = save(tmp_path / "mean.npy", window)
    assert np.array_equal(fit_mean(load_mean(path)[0], profile, SIZE, path), window)
    image = save(tmp_path / "image.npy", window[:, 0])
    assert np.array_equal(fit_mean(load_mean(image)[0], profile, SIZE, image), window[:, [0, 0]])


def test_a_mean_that_does_not_fit_is_refused_with_the_sizes(tmp_path: Path) -> None:
    path = save(tmp_path / "mean.npy", CUBE)
    with pytest.raises(BadInputError, match="a mean of 3x2x9x12 .* caffe-sports1m, .* 3x3x6x8 or 3x3x9x12"):
        fit_mean(CUBE, SMALL, (3, 6, 8), path)
    with pytest.raises(BadInputError, match="a mean of 3x2x9x12 .* hx173149, whose clips need 3x2x6x8$"):
        fit_mean(CUBE, HX173149, SIZE, path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"\x93NUMPY\x01\x00",
        blob(CUBE[None], c3d=True)[:-9],
        b"\x08\x01\x10\x03\x18\xff\xff\xff\xff\x0f\x20\x09\x28\x0c",
    ],
    ids=["empty", "text", "npy cut off", "blob cut off", "blob without numbers"],
)
def test_a_bad_file_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(content)
    with pytest.raises(BadInputError) as caught:
        load_mean(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.where(CUBE.max() == CUBE, np.nan, CUBE), "NaN"),
        (CUBE.astype(np.float64) * 1e40, "infinities"),
        (CUBE[:2], "none of 3xTxHxW"),
        (CUBE.ravel(), "none of 3xTxHxW"),
        (np.float32(1), "none of 3xTxHxW"),
        (np.array(["text"]), "plain numbers"),
        (np.array({"a": CUBE, "b": CUBE}, object), "holds 2 arrays, not one mean"),
        (np.zeros((3, 0, 4, 4), np.float32), "none of 3xTxHxW"),
    ],
)
def test_numbers_that_are_no_mean_are_refused(array: NDArray[np.generic], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=message):
        load_mean(save(tmp_path / "mean.npy", array))


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.npy", tmp_path):
        with pytest.raises(BadInputError, match="mean file"):
            load_mean(path)


def test_a_recorded_mean_is_found_where_it_was_or_beside_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "means").mkdir()
    path = save(tmp_path / "means" / "mean.npy", CUBE)
    recorded = choose_profile(SMALL, SIZE, mean=path).preprocessing
    assert recorded is not None
    assert recorded.mean_cube is not None
    recorded = replace(recorded, mean_cube=replace(recorded.mean_cube, path="means/mean.npy"))
    window = CUBE[:, :, 1:7, 2:10]
    found = recorded_profile(recorded, SIZE, tmp_path)
    assert found.mean_cube is not None
    assert np.array_equal(found.mean_cube, window)
    path.rename(tmp_path / "mean.npy")
    assert recorded_profile(recorded, SIZE, tmp_path).mean_cube is not None
    save(tmp_path / "mean.npy", CUBE + 1)
    with pytest.raises(BadInputError, match="is not the mean file that was recorded .*name it with --mean"):
        recorded_profile(recorded, SIZE, tmp_path)
    (tmp_path / "mean.npy").unlink()
    with pytest.raises(BadInputError, match="mean.npy is not at .*means/mean.npy or .*mean.npy; name it with --mean"):
        recorded_profile(recorded, SIZE, tmp_path)
