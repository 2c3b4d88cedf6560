"""A clip of frames, by the halves that decoding uses."""

import numpy as np
from numpy.typing import NDArray

from models.pooling import Sizes
from models.preprocessing.frames import ClipTransform, FrameTransform
from models.preprocessing.recipe import Preprocessing


def make_clip(
    preprocessing: Preprocessing, frames: NDArray[np.uint8], size: Sizes, mean: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return the clip (3, *size), float32, of frames (T, H, W, 3) of one size, uint8, RGB."""
    windows = FrameTransform(preprocessing, (size[1], size[2])).batch(frames)
    return ClipTransform(preprocessing, mean)(windows)
