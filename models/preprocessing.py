"""What a checkpoint expects of its pixels: one row per origin's recipe.

Right network, wrong answers: mean, channel order and value range differ from origin to origin and no shape tells them
apart. Each layout in `models.checkpoints.layouts` names its profile; the manifest records it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.spec import CLIP_SHAPE

FRAMES = CLIP_SHAPE[1]
CROP = CLIP_SHAPE[2]


@dataclass(frozen=True)
class Preprocessing:
    """One origin's recipe from decoded frames to a clip.

    Attributes:
        name: the profile's name, as the manifest records it.
        channels: order of the colour channels the network sees.
        scale: factor on the 0-255 values, before the mean is subtracted.
        mean: subtracted from each channel after scaling, in `channels`' order.
        resize: (width, height) each frame is resized to, without keeping the aspect ratio.
        crop: (top, left) of the 112x112 window taken from it.
        source: where the recipe stands.
    """

    name: str
    channels: Literal["RGB", "BGR"]
    scale: float
    mean: tuple[float, float, float]
    resize: tuple[int, int]
    crop: tuple[int, int]
    source: str

    def clip(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the clip (3, 16, 112, 112), float32, of frames resized to `resize`.

        Args:
            frames: (16, height, width, 3) uint8, RGB.

        Raises:
            ValueError: another number or size of frames.
        """
        expected = (FRAMES, self.resize[1], self.resize[0], 3)
        if frames.shape != expected:
            raise ValueError(f"frames must be {expected} = (time, height, width, RGB); got {frames.shape}")
        top, left = self.crop
        pixels = frames[:, top : top + CROP, left : left + CROP, :]  # (16, 112, 112, 3)
        if self.channels == "BGR":
            pixels = pixels[..., ::-1]
        values = pixels.astype(np.float32) * np.float32(self.scale) - np.asarray(self.mean, dtype=np.float32)
        return np.ascontiguousarray(values.transpose(3, 0, 1, 2))  # (3, 16, 112, 112)


UNKNOWN = Preprocessing(
    name="unknown",
    channels="RGB",
    scale=1.0,
    mean=(0.0, 0.0, 0.0),
    resize=(171, 128),
    crop=(8, 30),
    source="not recorded: these weights come with no recipe; the values are RGB 0-255 without a mean",
)

JFZHANG95 = Preprocessing(
    name="jfzhang95",
    channels="BGR",
    scale=1.0,
    mean=(90.0, 98.0, 102.0),
    resize=(171, 128),
    crop=(8, 30),
    source="jfzhang95/pytorch-video-recognition, inference.py: OpenCV frames less [90, 98, 102]",
)
