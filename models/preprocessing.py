"""Preprocessing profiles: how each checkpoint origin turns frames into a clip.

A wrong profile gives wrong outputs without an error: mean, channel order and value range differ from origin to
origin and no shape shows which was used. Each layout in `models.checkpoints.layouts` names its profile; the manifest
records it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.config import CLIP_SHAPE
from models.pooling import Sizes

COLOURS = 3
CROP_SIZE = CLIP_SHAPE[2]
"""The side of the published network's square crop, for which profiles state their sizes."""

Channels = tuple[float, float, float]
"""A number for each colour channel, in the order the network sees them."""


@dataclass(frozen=True)
class Preprocessing:
    """One origin's conversion from decoded frames to a clip: (pixels * scale - mean) / std.

    Attributes:
        name: the profile's name, as the manifest records it.
        channels: order of the colour channels the network sees.
        scale: factor on the 0-255 values, before the mean is subtracted.
        mean: subtracted from each channel after scaling.
        resize: (width, height) each frame is resized to, whatever its aspect ratio; or the length its shorter side
            is resized to, keeping the ratio.
        crop: (top, left) of the window taken from it; None takes the centre.
        source: where the origin documents the profile.
        std: each channel is divided by it after the mean is subtracted.
        mean_file: a file of the origin's with a mean for each pixel, of which `mean` is the average by channel.
        frame_step: a clip's frames are this many apart.
        clip_step: frames from the start of one clip to that of the next, where the origin runs over a whole video;
            None where it picks clips by other rules.
    """

    name: str
    channels: Literal["RGB", "BGR"]
    scale: float
    mean: Channels
    resize: tuple[int, int] | int
    crop: tuple[int, int] | None
    source: str
    std: Channels = (1.0, 1.0, 1.0)
    mean_file: str = ""
    frame_step: int = 1
    clip_step: int | None = None

    def frame_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) that a frame of `width` x `height` is resized to."""
        if not isinstance(self.resize, int):
            return self.resize
        short = min(width, height)
        return round(width * self.resize / short), round(height * self.resize / short)

    def scaled(self, height: int, width: int, stated: tuple[int, int] = (CROP_SIZE, CROP_SIZE)) -> Preprocessing:
        """Return the profile for frames of another size than the one it is stated for.

        Frames are resized in proportion, so that the window shows as much of them, and it is taken from the centre.
        That is an assumption: no origin documents another size.

        Args:
            height: rows of the network's frames.
            width: their columns.
            stated: (height, width) of the frames that this profile is for.
        """
        if (height, width) == stated:
            return self
        scale = max(height, width) / max(stated)
        resize = (
            round(self.resize * scale)
            if isinstance(self.resize, int)
            else (round(self.resize[0] * scale), round(self.resize[1] * scale))
        )
        return replace(self, resize=resize, crop=None)

    def fault(self, crop_height: int = CROP_SIZE, crop_width: int = CROP_SIZE) -> str | None:
        """Return what is wrong with a crop window of that size, or None."""
        width, height = self.frame_size(1, 1)
        top, left = self.crop or (0, 0)
        if min(top, left, height - top - crop_height, width - left - crop_width) < 0:
            return f"crop {self.crop} of {self.resize}"
        return None

    def __call__(self, frames: NDArray[np.uint8], size: Sizes = CLIP_SHAPE[1:]) -> NDArray[np.float32]:
        """Return the clip (3, *size), float32, of frames resized to `frame_size`.

        Args:
            frames: (time, height, width, 3) uint8, RGB.
            size: (time, height, width) of the clip.

        Raises:
            ValueError: another number or size of frames.
        """
        length, crop_height, crop_width = size
        height, width = frames.shape[1:3]
        resized = self.frame_size(width, height)
        expected = (length, resized[1], resized[0], 3)
        if frames.shape != expected:
            raise ValueError(f"frames must be {expected} = (time, height, width, RGB); got {frames.shape}")
        top, left = self.crop or ((height - crop_height) // 2, (width - crop_width) // 2)
        pixels = frames[:, top : top + crop_height, left : left + crop_width, :]  # (16, 112, 112, 3)
        if self.channels == "BGR":
            pixels = pixels[..., ::-1]
        values = pixels.astype(np.float32) * np.float32(self.scale) - np.asarray(self.mean, dtype=np.float32)
        values = values / np.asarray(self.std, dtype=np.float32)
        return np.ascontiguousarray(values.transpose(3, 0, 1, 2))  # (3, 16, 112, 112)

    def describe(self, crop_height: int = CROP_SIZE, crop_width: int = CROP_SIZE) -> str:
        """Return the profile in one line, for display, with a crop window of that size."""
        size = f"short side {self.resize}" if isinstance(self.resize, int) else f"{self.resize[0]}x{self.resize[1]}"
        side = f"{crop_height}" if crop_height == crop_width else f"{crop_height}x{crop_width}"
        window = f"crop {side} at ({self.crop[0]}, {self.crop[1]})" if self.crop else f"centre crop {side}"
        mean = ", ".join(f"{value:g}" for value in self.mean)
        less = (
            f", mean {self.mean_file} (per channel {mean})" if self.mean_file else f", mean ({mean})" * any(self.mean)
        )
        by = f", std ({', '.join(f'{value:g}' for value in self.std)})" if self.std != (1.0, 1.0, 1.0) else ""
        step = f", 1 frame in {self.frame_step}" if self.frame_step != 1 else ""
        return f"{self.channels}, 0-{255 * self.scale:g}, {size}, {window}{less}{by}{step}"


UNKNOWN = Preprocessing(
    name="unknown",
    channels="RGB",
    scale=1.0,
    mean=(0.0, 0.0, 0.0),
    resize=(171, 128),
    crop=(8, 30),
    source="not recorded: these weights come with no profile; the values are RGB 0-255 without a mean",
)

CAFFE = Preprocessing(
    name="caffe-sports1m",
    channels="BGR",
    scale=1.0,
    mean=(90.25, 97.66, 101.41),
    resize=(171, 128),
    crop=(8, 29),
    source="facebookarchive/C3D, feature extraction: frames minus the Sports-1M mean cube (3, 16, 128, 171)",
    mean_file="sport1m_train16_128_mean.binaryproto",
    clip_step=16,
)

C3D_KERAS = replace(
    CAFFE, name="c3d-keras", crop=(8, 30), source="axon-research/c3d-keras: Caffe's, one column further right"
)

JFZHANG95 = Preprocessing(
    name="jfzhang95",
    channels="BGR",
    scale=1.0,
    mean=(90.0, 98.0, 102.0),
    resize=(171, 128),
    crop=(8, 30),
    source="jfzhang95/pytorch-video-recognition, inference.py: OpenCV frames minus [90, 98, 102]",
    clip_step=1,
)

MMACTION2 = Preprocessing(
    name="mmaction2",
    channels="RGB",
    scale=1.0,
    mean=(104.0, 117.0, 128.0),
    resize=128,
    crop=None,
    source="open-mmlab/mmaction2 1.x, configs/recognition/c3d: mean [104, 117, 128], std 1; 10 clips of a video",
)

HX173149 = Preprocessing(
    name="hx173149",
    channels="RGB",
    scale=1.0,
    mean=(90.25, 97.66, 101.41),
    resize=112,
    crop=None,
    source="hx173149/C3D-tensorflow, input_data.py: RGB frames minus a mean that was made of BGR ones",
    mean_file="crop_mean.npy",
)

GLUONCV = Preprocessing(
    name="gluoncv",
    channels="RGB",
    scale=1 / 255,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    resize=(171, 128),
    crop=(8, 30),
    source="dmlc/gluon-cv, c3d_kinetics400.log and data/transforms/video.py: ImageNet's mean and std",
    frame_step=2,
)

PROFILES: tuple[Preprocessing, ...] = (UNKNOWN, CAFFE, C3D_KERAS, JFZHANG95, MMACTION2, HX173149, GLUONCV)
"""The profiles that the table of layouts refers to."""
