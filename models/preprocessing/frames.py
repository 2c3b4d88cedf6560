"""A profile in two halves, for decoding: each frame is resized once, however many clips it is in. NumPy in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.pooling import Sizes
from models.preprocessing.module import NormalizeModule, ResizeModule
from models.preprocessing.recipe import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor


class FrameTransform:
    """Resizes one frame and takes the window of it that the network sees.

    Args:
        preprocessing: the profile.
        size: (height, width) of the window.
    """

    def __init__(self, preprocessing: Preprocessing, size: tuple[int, int]) -> None:
        self._module = ResizeModule(preprocessing, size).eval()

    def __call__(self, frame: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the window (h, w, 3), RGB: uint8, or float32 where the origin resizes floats.

        Args:
            frame: (H, W, 3), uint8, RGB.
        """
        return self.batch(frame[np.newaxis])[0]

    def batch(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the windows (T, h, w, 3) of frames (T, H, W, 3) of one size."""
        with torch.inference_mode():
            return self._module(_tensor(frames)[None])[0].numpy()


class ClipTransform:
    """Turns windows into a clip: channel order, scale, mean, standard deviation.

    Args:
        preprocessing: the profile.
        mean: (3, T, h, w), subtracted instead of the profile's channel means (`fit_mean` makes it).
    """

    def __init__(self, preprocessing: Preprocessing, mean: NDArray[np.float32] | None = None) -> None:
        cube = None if mean is None else torch.from_numpy(np.ascontiguousarray(mean, dtype=np.float32))
        self._module = NormalizeModule(preprocessing, cube).eval()

    def __call__(self, windows: NDArray[Any]) -> NDArray[np.float32]:
        """Return the clip (3, T, h, w), float32, of windows (T, h, w, 3) that `FrameTransform` returned."""
        with torch.inference_mode():
            return self._module(_tensor(windows)[None])[0].numpy()


def make_clip(
    preprocessing: Preprocessing, frames: NDArray[np.uint8], size: Sizes, mean: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return the clip (3, *size), float32, of frames (T, H, W, 3) of one size, uint8, RGB.

    Raises:
        ValueError: another number of frames than `size` states.
    """
    if frames.ndim != 4 or frames.shape[0] != size[0] or frames.shape[3] != 3:
        raise ValueError(
            f"frames must be ({size[0]}, height, width, 3) = (time, height, width, RGB); got {frames.shape}"
        )
    windows = FrameTransform(preprocessing, (size[1], size[2])).batch(frames)
    return ClipTransform(preprocessing, mean)(windows)


def _tensor(array: NDArray[Any]) -> Tensor:
    """Return the array as a tensor that shares its memory; torch wants it writable, and it is only read here."""
    if not array.flags.c_contiguous or not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array)
