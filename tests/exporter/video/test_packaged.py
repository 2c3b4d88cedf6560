"""The real clip that ships with the package."""

import numpy as np

from exporter.video.packaged import packaged_frames


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
