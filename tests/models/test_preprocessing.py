"""Pixels become what a profile says."""

import numpy as np
import pytest

from models.preprocessing import JFZHANG95, UNKNOWN


def test_jfzhang95_is_bgr_less_its_mean() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (16, 128, 171, 3), dtype=np.uint8)
    clip = JFZHANG95.clip(frames)
    assert clip.shape == (3, 16, 112, 112)
    assert clip.dtype == np.float32
    # frame 5, row 0 and column 0 of the crop are row 8 and column 30 of the frame; channel 0 is blue less 90
    assert clip[0, 5, 0, 0] == float(frames[5, 8, 30, 2]) - 90
    assert clip[2, 15, 111, 111] == float(frames[15, 119, 141, 0]) - 102


def test_unknown_is_plain_rgb() -> None:
    frames = np.full((16, 128, 171, 3), (10, 20, 30), dtype=np.uint8)
    assert [UNKNOWN.clip(frames)[channel].max() for channel in range(3)] == [10, 20, 30]


def test_wrong_frames_are_told() -> None:
    with pytest.raises(ValueError, match=r"\(16, 128, 171, 3\).*got \(8, 128, 171, 3\)"):
        UNKNOWN.clip(np.zeros((8, 128, 171, 3), dtype=np.uint8))
