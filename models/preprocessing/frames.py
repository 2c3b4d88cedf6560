"""Preprocessing of videos in two steps, in NumPy: each frame is resized once, however many clips contain it."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.preprocessing.module import ResizeModule
from models.preprocessing.recipe import Preprocessing

if TYPE_CHECKING:
    from torch import Tensor


MAX_ENLARGED = 16
"""OpenCV is called for resized frames of at most this many times the crop's pixels, because it resizes whole frames:
one of a single row and thousands of columns becomes a hundred times as wide."""


class FrameTransform:
    """Resizes one frame and crops it to what the network sees.

    If OpenCV is installed and the profile uses its interpolation, OpenCV resizes the frames, ten times as fast as
    `ResizeModule`. The first frame of each size is resized by both; OpenCV does the rest of that size if it returned
    the same bits.

    Args:
        preprocessing: the profile.
        size: (height, width) of the crop.
    """

    def __init__(self, preprocessing: Preprocessing, size: tuple[int, int]) -> None:
        self._preprocessing, self._size = preprocessing, size
        self._module = ResizeModule(preprocessing, size).eval()
        self._opencv = import_opencv() if preprocessing.interpolation == "opencv" else None
        self._equal: dict[tuple[int, ...], bool] = {}
        """{a frame's shape: whether OpenCV returned the module's bits}."""

    def __reduce__(self) -> tuple[type[FrameTransform], tuple[Preprocessing, tuple[int, int]]]:
        """Pickle what it is made from: on another machine OpenCV may be missing, or another one."""
        return FrameTransform, (self._preprocessing, self._size)

    def __call__(self, frame: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the crop (h, w, 3), RGB: uint8, or float32 where the code that the profile reproduces resizes floats.

        Args:
            frame: (H, W, 3), uint8, RGB.
        """
        width, height = self._preprocessing.frame_size(frame.shape[1], frame.shape[0])
        if self._opencv is None or width * height > MAX_ENLARGED * self._size[0] * self._size[1]:
            return self.batch(frame[np.newaxis])[0]
        equal = self._equal.get(frame.shape)
        if equal is False:
            return self.batch(frame[np.newaxis])[0]
        top, left = self._preprocessing.crop_offset(width, height, self._size)
        resized = self._opencv.resize(frame, (width, height), interpolation=self._opencv.INTER_LINEAR)
        crop = resized[top : top + self._size[0], left : left + self._size[1]]
        if equal is None:
            exact = self.batch(frame[np.newaxis])[0]
            self._equal[frame.shape] = np.array_equal(crop, exact)
            return exact
        return crop

    def batch(self, frames: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the crops (T, h, w, 3) of frames (T, H, W, 3) of one size."""
        with torch.inference_mode():
            return self._module(_tensor(frames)[None])[0].numpy()


def import_opencv() -> ModuleType | None:
    """Return OpenCV, or None where it is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2


class ClipTransform:
    """Turns crops into a clip, as `NormalizeModule` does: channel order, scale, mean, standard deviation.

    Args:
        preprocessing: the profile.
        mean: (3, T, h, w), subtracted instead of the profile's channel means (`fit_mean` makes it).
    """

    def __init__(self, preprocessing: Preprocessing, mean: NDArray[np.float32] | None = None) -> None:
        self._sources = (2, 1, 0) if preprocessing.channels == "BGR" else (0, 1, 2)
        self._scale = np.float32(preprocessing.scale)
        self._mean = (
            np.asarray(preprocessing.mean, dtype=np.float32) if mean is None else np.asarray(mean, dtype=np.float32)
        )
        self._std = np.asarray(preprocessing.std, dtype=np.float32)

    def __call__(self, crops: NDArray[Any]) -> NDArray[np.float32]:
        """Return the clip (3, T, h, w), float32, of crops (T, h, w, 3) that `FrameTransform` returned."""
        clip = np.empty((len(self._sources), *crops.shape[:3]), np.float32)
        for channel, source in enumerate(self._sources):
            plane, values = clip[channel], crops[..., source]
            if self._scale != 1:
                values = np.multiply(values, self._scale, out=plane)
            np.subtract(values, self._mean[channel], out=plane)
            if self._std[channel] != 1:
                np.divide(plane, self._std[channel], out=plane)
        return clip


def _tensor(array: NDArray[Any]) -> Tensor:
    """Return the array as a tensor that shares its memory; torch wants it writable, and it is only read here."""
    if not array.flags.c_contiguous or not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array)
