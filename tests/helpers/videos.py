"""Small videos, written with PyAV, and what they decode to."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]


def write_video(path: Path, count: int = 40, size: tuple[int, int] = (64, 48), seed: int = 0, fps: int = 25) -> Path:
    """Write a video of moving colours.

    Args:
        path: where to; its suffix chooses the container.
        count: number of frames.
        size: (width, height).
        seed: of the colours.
        fps: frames in a second.
    """
    width, height = size
    generator = np.random.default_rng(seed)
    phases = generator.uniform(0, 6, 3)
    rows, columns = np.mgrid[:height, :width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 2_000_000
        for number in range(count):
            waves = [np.sin(rows / 9 + columns / 7 + phase + number / 5) for phase in phases]
            pixels = (127 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def read_frames(path: Path) -> Frames:
    """Return every frame, (count, height, width, 3) uint8 RGB, as PyAV decodes it."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames).astype(np.uint8)
