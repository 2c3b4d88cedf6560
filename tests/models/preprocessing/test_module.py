"""One computation: eager, in TorchScript, in float64, and frame by frame for decoding."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from models.preprocessing import frames
from models.preprocessing.frames import ClipTransform, FrameTransform
from models.preprocessing.module import PreprocessingModule, ResizeModule
from models.preprocessing.profiles import CAFFE, EKOSMAN, GLUONCV, HX173149, PROFILES, UNKNOWN
from models.preprocessing.recipe import Preprocessing

SIZE = (2, 28, 32)
SMALL = {profile.name: profile.scaled(*SIZE[1:]) for profile in PROFILES}
"""Profiles for small clips."""


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), dtype=np.uint8)


def random_sizes(count: int, largest: int) -> list[tuple[int, int, int, int]]:
    """Draw (height, width, new height, new width), as many small as large; every fifth is exactly halved."""
    random = np.random.default_rng(7)
    drawn = np.exp(random.uniform(0, np.log(largest), (count, 4))).astype(int)
    drawn[::5, :2] = 2 * drawn[::5, 2:]
    return [(1, 1, 1, 1), (1, 1, 128, 171), *map(tuple, drawn.tolist())]


def whole(interpolation: str, width: int, height: int) -> ResizeModule:
    """The module that resizes to that size and crops nothing."""
    profile = replace(UNKNOWN, interpolation=interpolation, resize=(width, height), crop=(0, 0))
    return ResizeModule(profile, (height, width))


def test_the_integer_resize_is_opencvs_bit_for_bit() -> None:
    for seed, (height, width, new_height, new_width) in enumerate(random_sizes(100, 150)):
        pixels = noise(height, width, seed)
        if seed % 3 == 0:
            pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)  # the largest sums, and the steepest edges
        resized = whole("opencv", new_width, new_height)(torch.from_numpy(pixels)[None])[0]
        assert np.array_equal(resized[0], cv2.resize(pixels[0], (new_width, new_height)))


def test_a_grey_frame_stays_grey() -> None:
    grey = noise(37, 53)[:1, ..., :1]
    resized = whole("opencv", 171, 128)(torch.from_numpy(grey.repeat(3, axis=3))[None])[0, 0]
    assert np.array_equal(resized, cv2.resize(grey[0, ..., 0], (171, 128))[..., None].repeat(3, axis=2))


def test_the_float_resize_is_torchs() -> None:
    for seed, (height, width, new_height, new_width) in enumerate(random_sizes(40, 200)):
        pixels = torch.from_numpy(noise(height, width, seed))
        planes = pixels.permute(0, 3, 1, 2).to(torch.float32)
        expected = interpolate(planes, size=(new_height, new_width), mode="bilinear", align_corners=False)
        resized = whole("torch", new_width, new_height)(pixels[None])[0]
        assert (resized - expected.permute(0, 2, 3, 1)).abs().max() <= 1e-4  # six roundings of float32 at 255


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 33), (9, 9), (1, 1)])
def test_every_way_to_compute_a_profile_gives_the_same_clip(profile: Preprocessing, height: int, width: int) -> None:
    profile = SMALL[profile.name]
    cube = np.random.default_rng(1).uniform(0, 255, (3, *SIZE)).astype(np.float32)
    for mean in (None, cube):
        module = PreprocessingModule(profile, SIZE, None if mean is None else torch.from_numpy(mean)).eval()
        pixels = noise(height, width)
        clip = module(torch.from_numpy(pixels)[None])
        resize, normalize = FrameTransform(profile, SIZE[1:]), ClipTransform(profile, mean)
        for _ in range(2):  # the first frame of a size is computed otherwise than the next
            windows = np.stack([resize(frame) for frame in pixels])
            assert np.array_equal(windows, resize.batch(pixels))
            assert np.array_equal(normalize(windows), clip[0])


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_torchscript_computes_the_same_at_every_size(profile: Preprocessing) -> None:
    module = PreprocessingModule(SMALL[profile.name], SIZE).eval()
    scripted = torch.jit.freeze(torch.jit.script(module))
    for size in ((48, 64), (64, 33), (1, 1)):
        pixels = torch.from_numpy(noise(*size))[None]
        assert torch.equal(scripted(pixels), module(pixels))


@pytest.mark.parametrize("profile", [GLUONCV, EKOSMAN], ids=lambda profile: profile.name)
def test_double_computes_the_clip_in_float64(profile: Preprocessing) -> None:
    module = PreprocessingModule(SMALL[profile.name], SIZE)
    pixels = torch.from_numpy(noise(48, 64))[None]
    single, double = module(pixels), module.double()(pixels)
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert 0 < (single - double).abs().max() < 1e-4


def test_without_opencv_frames_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noise(48, 64)[0]
    with_opencv = FrameTransform(CAFFE, (112, 112))
    with_opencv(pixels)
    monkeypatch.setattr(frames, "import_opencv", lambda: None)
    assert np.array_equal(FrameTransform(CAFFE, (112, 112))(pixels), with_opencv(pixels))


def test_an_opencv_that_returns_other_bits_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        INTER_LINEAR = cv2.INTER_LINEAR

        @staticmethod
        def resize(frame: NDArray[np.uint8], size: tuple[int, int], interpolation: int) -> NDArray[np.uint8]:
            return np.asarray(cv2.resize(frame, size, interpolation=interpolation), dtype=np.uint8) ^ np.uint8(1)

    monkeypatch.setattr(frames, "import_opencv", lambda: Other)
    transform, pixels = FrameTransform(CAFFE, (112, 112)), noise(48, 64)[0]
    for _ in range(2):
        assert np.array_equal(transform(pixels), cv2.resize(pixels, (171, 128))[8:120, 29:141])


def test_a_wide_frame_takes_no_memory_for_what_is_cropped_away() -> None:
    """A row of 8,000 pixels becomes 112 x 896,001 where the ratio is kept: 301 MB, of which 112 x 112 are needed."""
    row = noise(1, 8000)[0]
    window = FrameTransform(HX173149, (112, 112))(row)
    middle = row[0, 3999:4001].mean()  # each pixel becomes 112 wide: the window shows the middle one or two
    assert window.shape == (112, 112, 3)
    assert abs(window.mean() - middle) < 128


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(1, 2, 48, 64, 3), "got another dtype"),
        (torch.zeros(2, 48, 64, 3, dtype=torch.uint8), r"got .*\[2, 48, 64, 3\]"),
        (torch.zeros(1, 2, 48, 64, 4, dtype=torch.uint8), r"got .*\[1, 2, 48, 64, 4\]"),
        (torch.zeros(1, 2, 0, 64, 3, dtype=torch.uint8), r"got .*\[1, 2, 0, 64, 3\]"),
        (torch.zeros(1, 3, 48, 64, 3, dtype=torch.uint8), "a clip has 2 frames; got 3"),
    ],
)
def test_other_frames_are_refused_with_their_shape(given: torch.Tensor, message: str) -> None:
    module = PreprocessingModule(SMALL["unknown"], SIZE)
    with pytest.raises(ValueError, match=message):
        module(given)
    with pytest.raises(torch.jit.Error, match="frames must be uint8|a clip has 2 frames"):
        torch.jit.script(module)(given)
