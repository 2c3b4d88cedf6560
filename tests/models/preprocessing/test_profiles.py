"""Every profile computes what its origin's script computes with the library that it calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from helpers.clips import make_clip
from helpers.manifests import MANIFEST
from helpers.profile_origins import FRAME_SIZES, ORIGINS, Clip, Frames

from exporter.artifacts.manifest import Manifest
from models.preprocessing.profiles import PROFILES, UNKNOWN
from models.preprocessing.recipe import Preprocessing

SIZE = (2, 112, 112)


@pytest.mark.parametrize(("profile", "origin", "tolerance"), ORIGINS, ids=lambda value: getattr(value, "name", ""))
@pytest.mark.parametrize(("height", "width"), FRAME_SIZES)
def test_a_profile_equals_its_origins_library(
    profile: Preprocessing, origin: Callable[[Frames], Clip], tolerance: float, height: int, width: int
) -> None:
    frames = np.random.default_rng(height + width).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    expected = origin(frames).transpose(3, 0, 1, 2)
    clip = make_clip(profile, frames, SIZE)
    assert clip.dtype == np.float32
    assert clip.shape == (3, *SIZE)
    assert np.abs(clip - expected).max() <= tolerance


def test_every_profile_with_an_origin_is_compared_with_it() -> None:
    assert {profile.name for profile, _, _ in ORIGINS} == {profile.name for profile in PROFILES} - {"unknown"}


def test_unknown_is_plain_rgb() -> None:
    frames = np.full((2, 128, 171, 3), (10, 20, 30), dtype=np.uint8)
    assert [make_clip(UNKNOWN, frames, SIZE)[channel].max() for channel in range(3)] == [10, 20, 30]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_every_profile_survives_a_manifest(profile: Preprocessing) -> None:
    assert profile.describe().startswith(f"{profile.channels}, 0-{255 * profile.scale:g}, ")
    assert profile.fault() is None
    manifest = replace(MANIFEST, preprocessing=profile)
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_profile_is_described_with_its_crop() -> None:
    profile = Preprocessing("own", "BGR", 1 / 255, (0.5, 0, 0.25), (171, 128), (8, 30), "", std=(2, 1, 1), frame_step=2)
    wanted = "171x128, crop 112 at (8, 30), mean (0.5, 0, 0.25), std (2, 1, 1), 1 frame in 2"
    assert profile.describe() == f"BGR, 0-1, {wanted}"
    centred = replace(profile, resize=128, crop=None, interpolation="torch")
    assert (
        centred.describe(96, 112) == f"BGR, 0-1, short side 128 (torch), centre crop 96x112,{wanted.split('),', 1)[1]}"
    )


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
@pytest.mark.parametrize("size", [(2, 224, 224), (1, 64, 48), (2, 128, 171)])
def test_a_profile_for_frames_of_another_size_shows_as_much_of_them(
    profile: Preprocessing, size: tuple[int, int, int]
) -> None:
    frames, height, width = size
    scaled = profile.scaled(height, width)
    before, after = profile.frame_size(640, 480), scaled.frame_size(640, 480)
    assert after[0] / max(height, width) == pytest.approx(before[0] / 112, rel=0.01)
    assert scaled.fault(height, width) is None
    assert make_clip(scaled, np.zeros((frames, 48, 64, 3), np.uint8), size).shape == (3, *size)
    assert scaled.scaled(112, 112, (height, width)).frame_size(640, 480) == pytest.approx(before, abs=1)
    assert profile.scaled(112, 112) is profile
