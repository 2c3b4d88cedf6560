"""Pixels become what a profile says."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.manifests import MANIFEST

from exporter.artifacts.manifest import Manifest
from models.preprocessing import JFZHANG95, MMACTION2, PROFILES, UNKNOWN, Preprocessing


def test_jfzhang95_is_bgr_less_its_mean() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (16, 128, 171, 3), dtype=np.uint8)
    clip = JFZHANG95(frames)
    assert clip.shape == (3, 16, 112, 112)
    assert clip.dtype == np.float32
    # frame 5, row 0 and column 0 of the crop are row 8 and column 30 of the frame; channel 0 is blue less 90
    assert clip[0, 5, 0, 0] == float(frames[5, 8, 30, 2]) - 90
    assert clip[2, 15, 111, 111] == float(frames[15, 119, 141, 0]) - 102


def test_unknown_is_plain_rgb() -> None:
    frames = np.full((16, 128, 171, 3), (10, 20, 30), dtype=np.uint8)
    assert [UNKNOWN(frames)[channel].max() for channel in range(3)] == [10, 20, 30]


def test_wrong_frames_are_told() -> None:
    with pytest.raises(ValueError, match=r"\(16, 128, 171, 3\).*got \(8, 128, 171, 3\)"):
        UNKNOWN(np.zeros((8, 128, 171, 3), dtype=np.uint8))


def test_mmaction2_keeps_the_ratio_and_takes_the_centre() -> None:
    assert MMACTION2.frame_size(640, 272) == (301, 128)
    assert MMACTION2.frame_size(240, 320) == (128, 171)
    frames = np.random.default_rng(0).integers(0, 256, (16, 128, 301, 3), dtype=np.uint8)
    clip = MMACTION2(frames)
    assert clip[0, 3, 0, 0] == float(frames[3, 8, 94, 0]) - 104
    assert clip[2, 3, 111, 111] == float(frames[3, 119, 205, 2]) - 128


def test_std_divides_what_the_mean_left() -> None:
    profile = replace(UNKNOWN, scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0))
    clip = profile(np.full((16, 128, 171, 3), 255, dtype=np.uint8))
    assert clip[:, 0, 0, 0] == pytest.approx([2.0, 1.0, 0.5])


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_every_profile_takes_a_clip_out_of_its_frames_and_survives_a_manifest(profile: Preprocessing) -> None:
    width, height = profile.frame_size(640, 272)
    assert profile(np.zeros((16, height, width, 3), np.uint8)).shape == (3, 16, 112, 112)
    assert profile.describe().startswith(f"{profile.channels}, 0-{255 * profile.scale:g}, ")
    manifest = replace(MANIFEST, preprocessing=profile)
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
@pytest.mark.parametrize("size", [(8, 224, 224), (16, 64, 48), (16, 128, 171)])
def test_a_profile_for_frames_of_another_size_shows_as_much_of_them(
    profile: Preprocessing, size: tuple[int, int, int]
) -> None:
    frames, height, width = size
    scaled = profile.scaled(height, width)
    before, after = profile.frame_size(640, 480), scaled.frame_size(640, 480)
    assert after[0] / max(height, width) == pytest.approx(before[0] / 112, rel=0.01)
    assert scaled.fault(height, width) is None
    assert scaled(np.zeros((frames, after[1], after[0], 3), np.uint8), size).shape == (3, *size)
    assert scaled.scaled(112, 112, (height, width)).frame_size(640, 480) == pytest.approx(before, abs=1)
    assert profile.scaled(112, 112) is profile
