"""Lossless RGB videos of moving colours: what they decode to does not depend on how a decoder converts colours."""

from pathlib import Path

import av
import numpy as np

from helpers.videos import Frames, moving, write_video


def write_colours(path: Path, count: int = 40, size: tuple[int, int] = (64, 48), seed: int = 0) -> Path:
    """Write a video of 25 frames in a second, in FFV1. Return `path`.

    Args:
        path: an `.mkv` or `.avi`.
        count: number of frames.
        size: (width, height).
        seed: moves the pattern.
    """
    return write_video(path, np.roll(moving(count, size[1], size[0]), 7 * seed, axis=2))


def read_frames(path: Path) -> Frames:
    """Return every frame of such a video, (count, height, width, 3) uint8 RGB."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames).astype(np.uint8)
