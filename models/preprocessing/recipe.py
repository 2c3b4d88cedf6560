"""One origin's conversion from decoded frames to a clip, as plain data. torch is not imported here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from models.config import CLIP_SHAPE

COLOURS = 3
CROP_SIZE = CLIP_SHAPE[2]
"""The side of the published network's square crop, for which profiles state their sizes."""

MAX_SIDE = 1 << 14
"""The longest side that a profile may resize frames to."""
MAX_FLOAT32, MIN_FLOAT32 = 3.4e38, 1.2e-38
"""The largest and smallest number of a profile: float32, in which clips are computed, has no larger one, and no smaller
one of full precision."""
MAX_STEP = 1_000_000
"""The most frames of a step, and clips of a video, that a profile may state."""

Channels = tuple[float, float, float]
"""A number for each colour channel, in the order the network sees them."""

Interpolation = Literal["opencv", "torch", "skimage"]
"""The library whose bilinear resize an origin calls; none of them smooths before it shrinks. `opencv`: `cv2.resize` of
uint8, in integers, rounded to uint8. `torch`: `interpolate(align_corners=False)` of float32. `skimage`:
`skimage.transform.resize` as of 0.13: float64, 0 beyond the edges."""

Rounding = Literal["nearest", "floor", "plus-one"]
"""How the longer side's length x is rounded where the ratio is kept: int(x + 0.5), int(x), or int(x + 1)."""
ROUNDING_TERMS: Mapping[Rounding, float] = MappingProxyType({"nearest": 0.5, "floor": 0.0, "plus-one": 1.0})

Average = Literal["probabilities", "scores", "features"]
"""What an origin averages over a video's clips: class probabilities, class scores before softmax, or features."""


@dataclass(frozen=True)
class MeanFile:
    """The file with a mean for each pixel that was used instead of a profile's channel means.

    Attributes:
        file: its name.
        sha256: SHA-256 of its bytes.
        path: where it is, relative to the manifest's folder; None where that is not known.
    """

    file: str
    sha256: str
    path: str | None = None


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
        crop: (top, left) of the crop taken from it; None takes the centre, rounded down.
        source: where the origin documents the profile.
        std: each channel is divided by it after the mean is subtracted.
        mean_file: a file of the origin's with a mean for each pixel, of which `mean` is the average by channel.
        frame_step: a clip's frames are this many apart.
        clip_step: frames from the start of one clip to that of the next, where the origin runs over a whole video;
            None where it picks clips by other rules.
        interpolation: the library whose bilinear resize it is.
        rounding: how the longer side is rounded where the ratio is kept.
        clips: how many clips the origin takes of a video: one in the middle, or several whose starts are evenly spaced
            from the first frame to the last possible start; None where it runs over the video by `clip_step`.
        average: what the origin averages over a video's clips.
        mean_cube: the mean file that is subtracted instead of `mean`; None for the channel means.
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
    interpolation: Interpolation = "opencv"
    rounding: Rounding = "nearest"
    clips: int | None = None
    average: Average = "probabilities"
    mean_cube: MeanFile | None = None

    def frame_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) that a frame of `width` x `height` is resized to."""
        if not isinstance(self.resize, int):
            return self.resize
        scale = self.resize / min(width, height)
        if width > height:
            return self._round(width * scale), self.resize
        # the rule `plus-one` also adds a row to a square frame
        return self.resize, self._round(height * scale)

    def _round(self, length: float) -> int:
        return int(length + ROUNDING_TERMS[self.rounding])

    def crop_offset(self, width: int, height: int, size: tuple[int, int]) -> tuple[int, int]:
        """Return (top, left) of the crop of `size` (height, width) in a resized frame of `width` x `height`."""
        return self.crop or ((height - size[0]) // 2, (width - size[1]) // 2)

    def without_path(self) -> Preprocessing:
        """Return the profile without the place of its mean file, which goes into a file that may be moved."""
        return self if self.mean_cube is None else replace(self, mean_cube=replace(self.mean_cube, path=None))

    def scaled(self, height: int, width: int, stated: tuple[int, int] = (CROP_SIZE, CROP_SIZE)) -> Preprocessing:
        """Return the profile for frames of another size than the one it is stated for.

        Frames are resized in proportion, so that the crop shows as much of them, and it is taken from the centre.
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

    def value_fault(self) -> str | None:
        """Return what is impossible in the profile, or None: values that types alone do not rule out."""
        sides = (self.resize,) if isinstance(self.resize, int) else self.resize
        counts = {"frame_step": self.frame_step, "clip_step": self.clip_step, "clips": self.clips}
        if not all(
            math.isfinite(number) and abs(number) <= MAX_FLOAT32 for number in (self.scale, *self.mean, *self.std)
        ):
            return "scale, mean and std must be finite, in float32 too"
        if not all(abs(number) >= MIN_FLOAT32 for number in (self.scale, *self.std)):
            return "scale and std must not be 0, in float32 too"
        if not all(1 <= side <= MAX_SIDE for side in sides):
            return f"resize must be from 1 to {MAX_SIDE} (got {self.resize})"
        if self.crop is not None and not all(0 <= start <= MAX_SIDE for start in self.crop):
            return f"crop must be from 0 to {MAX_SIDE} (got {self.crop})"
        if not self.name.strip():
            return "name must not be empty"
        wrong = [name for name, number in counts.items() if number is not None and not 1 <= number <= MAX_STEP]
        return f"{wrong[0]} must be from 1 to {MAX_STEP} (got {counts[wrong[0]]})" if wrong else None

    def fault(self, crop_height: int = CROP_SIZE, crop_width: int = CROP_SIZE) -> str | None:
        """Return what is impossible in the profile, or wrong with a crop of that size, or None."""
        if (fault := self.value_fault()) is not None:
            return fault
        width, height = self.frame_size(1, 1)
        top, left = self.crop or (0, 0)
        if min(top, left, height - top - crop_height, width - left - crop_width) < 0:
            return f"crop {self.crop} of {self.resize}"
        return None

    def describe(self, crop_height: int = CROP_SIZE, crop_width: int = CROP_SIZE) -> str:
        """Return the profile in one line, for display, with a crop of that size."""
        size = f"short side {self.resize}" if isinstance(self.resize, int) else f"{self.resize[0]}x{self.resize[1]}"
        kind = "" if self.interpolation == "opencv" else f" ({self.interpolation})"
        side = f"{crop_height}" if crop_height == crop_width else f"{crop_height}x{crop_width}"
        crop = f"crop {side} at ({self.crop[0]}, {self.crop[1]})" if self.crop else f"centre crop {side}"
        mean = ", ".join(f"{value:g}" for value in self.mean)
        if self.mean_cube is not None:
            less = f", mean file {self.mean_cube.file}"
        elif self.mean_file:
            less = f", mean {self.mean_file} (per channel {mean})"
        else:
            less = f", mean ({mean})" * any(self.mean)
        by = f", std ({', '.join(f'{value:g}' for value in self.std)})" if self.std != (1.0, 1.0, 1.0) else ""
        step = f", 1 frame in {self.frame_step}" if self.frame_step != 1 else ""
        return f"{self.channels}, 0-{255 * self.scale:g}, {size}{kind}, {crop}{less}{by}{step}"
