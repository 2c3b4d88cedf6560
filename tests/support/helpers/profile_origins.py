"""What each profile's origin computes, with the library that its script calls, in float64 after the resize."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from models.preprocessing.profiles import C3D_KERAS, CAFFE, DAVIDEA, EKOSMAN, GLUONCV, HX173149, JFZHANG95, MMACTION2
from models.preprocessing.recipe import Preprocessing

FRAME_SIZES = [(240, 320), (144, 176), (360, 201), (128, 171), (112, 112), (272, 640), (61, 33), (1, 1), (1, 500)]
"""(height, width): larger and smaller than the crop, odd, upright, square, a single pixel and a single row."""

Frames = NDArray[np.uint8]
Clip = NDArray[np.float64]


def caffe(frames: Frames) -> Clip:
    """C3D-v1.0's video data layer: BGR, cv::resize, integer halves of the margins."""
    resized = np.stack([cv2.resize(frame[..., ::-1], (171, 128)) for frame in frames]).astype(np.float64)
    top, left = (128 - 112) // 2, (171 - 112) // 2
    return resized[:, top : top + 112, left : left + 112] - (90.25, 97.66, 101.41)


def c3d_keras(frames: Frames) -> Clip:
    resized = np.stack([cv2.resize(frame[..., ::-1], (171, 128)) for frame in frames]).astype(np.float64)
    return (resized - (90.25, 97.66, 101.41))[:, 8:120, 30:142]


def jfzhang95(frames: Frames) -> Clip:
    cropped = [cv2.resize(frame[..., ::-1], (171, 128))[8:120, 30:142] for frame in frames]
    return np.stack(cropped).astype(np.float64) - (90, 98, 102)


def skimage_013(frame: Frames, height: int, width: int) -> Clip:
    """scikit-image 0.13's `resize(order=1, mode="constant", preserve_range=True)`, pixel by pixel in float64."""
    padded = np.zeros((frame.shape[0] + 2, frame.shape[1] + 2, 3))  # 0 outside
    padded[1:-1, 1:-1] = frame
    y = (np.arange(height) + 0.5) * frame.shape[0] / height - 0.5
    x = (np.arange(width) + 0.5) * frame.shape[1] / width - 0.5
    low_y, low_x = np.floor(y).astype(int), np.floor(x).astype(int)
    part_y, part_x = (y - low_y)[:, None, None], (x - low_x)[None, :, None]
    corner = lambda dy, dx: padded[(low_y + 1 + dy)[:, None], (low_x + 1 + dx)[None]]  # noqa: E731
    top = (1 - part_x) * corner(0, 0) + part_x * corner(0, 1)
    return (1 - part_y) * top + part_y * ((1 - part_x) * corner(1, 0) + part_x * corner(1, 1))


def davidea(frames: Frames) -> Clip:
    return np.stack([skimage_013(frame, 112, 200) for frame in frames])[:, :, 44 : 44 + 112]


def mmaction2(frames: Frames) -> Clip:
    """mmcv.rescale_size((w, h), (inf, 128)), imresize, CenterCrop, ActionDataPreprocessor."""
    height, width = frames.shape[1:3]
    scale = 128 / min(height, width)
    new = int(width * float(scale) + 0.5), int(height * float(scale) + 0.5)
    resized = np.stack([cv2.resize(frame, new) for frame in frames]).astype(np.float64)
    left, top = (new[0] - 112) // 2, (new[1] - 112) // 2
    return resized[:, top : top + 112, left : left + 112] - (104, 117, 128)


def ekosman(frames: Frames) -> Clip:
    """ToTensorVideo, ResizeVideo, CenterCropVideo, NormalizeVideo."""
    clip = torch.from_numpy(frames).float().permute(3, 0, 1, 2) / 255.0
    clip = interpolate(clip, size=(128, 171), mode="bilinear", align_corners=False)
    top, left = round((128 - 112) / 2.0), round((171 - 112) / 2.0)
    clip = clip[..., top : top + 112, left : left + 112].permute(1, 2, 3, 0).double().numpy()
    return (clip - np.array([124 / 255, 117 / 255, 104 / 255])) / (1 / (0.0167 * 255))


def hx173149(frames: Frames) -> Clip:
    height, width = frames.shape[1:3]
    new = (int(width * (112 / height) + 1), 112) if width > height else (112, int(height * (112 / width) + 1))
    resized = np.stack([cv2.resize(frame, new) for frame in frames]).astype(np.float64)
    top, left = (new[1] - 112) // 2, (new[0] - 112) // 2
    return resized[:, top : top + 112, left : left + 112] - (95.14, 102.86, 107.76)


def gluoncv(frames: Frames) -> Clip:
    resized = np.stack([cv2.resize(frame, (171, 128)) for frame in frames])
    top, left = round((128 - 112) / 2.0), round((171 - 112) / 2.0)
    cropped = resized[:, top : top + 112, left : left + 112] / 255.0
    return (cropped - (0.485, 0.456, 0.406)) / np.array((0.229, 0.224, 0.225))


ORIGINS: list[tuple[Preprocessing, Callable[[Frames], Clip], float]] = [
    (CAFFE, caffe, 2e-5),
    (C3D_KERAS, c3d_keras, 2e-5),
    (JFZHANG95, jfzhang95, 0.0),
    (DAVIDEA, davidea, 2e-5),
    (MMACTION2, mmaction2, 0.0),
    (EKOSMAN, ekosman, 2e-6),
    (HX173149, hx173149, 2e-5),
    (GLUONCV, gluoncv, 1e-6),
]
"""The profile, the origin's steps in float64, and the largest difference of a value: float32's rounding of values up
to 255, 4.3 and 2.7; 0 where mean and pixels are whole numbers."""
