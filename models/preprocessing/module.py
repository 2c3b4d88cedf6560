"""The torch module that computes a profile: the one implementation, eager and in TorchScript.

Positions and weights have the dtype that the origin's library gives them. What follows the resize is computed in the
dtype of the buffers: `module.double()` returns clips in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.pooling import Sizes
from models.preprocessing.recipe import ROUNDING_TERMS, Preprocessing
from models.preprocessing.resize import (
    float_weights,
    neighbours,
    opencv_weights,
    resized_size,
    source_positions,
    torch_positions,
)


class ResizeModule(nn.Module):
    """Resizes frames and takes the window that a profile takes of them; only the window's pixels are computed.

    Args:
        preprocessing: the profile.
        size: (height, width) of the window.
    """

    def __init__(self, preprocessing: Preprocessing, size: tuple[int, int]) -> None:
        super().__init__()
        resize = preprocessing.resize
        self.height, self.width = size
        self.short = resize if isinstance(resize, int) else 0
        self.resized_width, self.resized_height = (0, 0) if isinstance(resize, int) else resize
        self.add = ROUNDING_TERMS[preprocessing.rounding]
        self.top, self.left = preprocessing.crop or (-1, -1)
        self.interpolation: str = preprocessing.interpolation
        # a tensor to convert to, not its dtype: torch.jit.freeze makes that a constant, whatever it is cast to later
        self.register_buffer("like", torch.zeros(()), persistent=False)
        self.like: Tensor

    def forward(self, frames: Tensor) -> Tensor:
        """Return the windows (N, T, h, w, 3) of 0-255: uint8 from `opencv`, floats from the other kinds.

        Args:
            frames: (N, T, H, W, 3), uint8.

        Raises:
            ValueError: not such frames.
        """
        if frames.dtype != torch.uint8:  # TorchScript has a number for a dtype, which would say nothing
            raise ValueError(
                "frames must be uint8 (N, T, height, width, 3) = (batch, time, height, width, RGB) from 0 to 255; got "
                f"another dtype, {frames.shape}"
            )
        if frames.dim() != 5 or frames.size(-1) != 3 or frames.numel() == 0:
            raise ValueError(
                "frames must be uint8 (N, T, height, width, 3) = (batch, time, height, width, RGB), none of them 0; "
                f"got {frames.shape}"
            )
        height = torch.scalar_tensor(frames.shape[2], dtype=torch.float64, device=frames.device)
        width = torch.scalar_tensor(frames.shape[3], dtype=torch.float64, device=frames.device)
        if self.short > 0:
            new_height, new_width = resized_size(height, width, self.short, self.add)
        else:
            new_height = torch.full_like(height, float(self.resized_height))
            new_width = torch.full_like(width, float(self.resized_width))
        if self.top >= 0:
            top, left = torch.full_like(height, float(self.top)), torch.full_like(width, float(self.left))
        else:
            top, left = torch.floor((new_height - self.height) / 2), torch.floor((new_width - self.width) / 2)
        if self.interpolation == "torch":
            y = torch_positions(height, new_height, top, self.height)
            x = torch_positions(width, new_width, left, self.width)
        else:
            y = source_positions(height, new_height, top, self.height)
            x = source_positions(width, new_width, left, self.width)
        if self.interpolation == "opencv":
            low_y, b0, b1 = opencv_weights(y, height, False)
            low_x, a0, a1 = opencv_weights(x, width, True)
        else:
            low_y, b0, b1 = float_weights(y, height, self.interpolation == "skimage")
            low_x, a0, a1 = float_weights(x, width, self.interpolation == "skimage")
        y0, y1 = neighbours(low_y, frames.shape[2])
        x0, x1 = neighbours(low_x, frames.shape[3])
        rows = frames.index_select(2, torch.cat((y0, y1)))  # (N, T, 2h, W, 3): above each pixel, then below
        # a pixel's channels lie side by side, so the weights along x are repeated for each: (w * 3,)
        a0, a1 = a0.repeat_interleave(3), a1.repeat_interleave(3)
        b = torch.cat((b0, b1)).unsqueeze(1)  # (2h, 1)
        left = rows.index_select(3, x0).flatten(3)  # (N, T, 2h, w * 3)
        right = rows.index_select(3, x1).flatten(3)
        if self.interpolation == "opencv":
            sums = left.to(torch.int32).mul_(a0).add_(right.to(torch.int32).mul_(a1))
            sums = sums.bitwise_right_shift_(4).mul_(b).bitwise_right_shift_(16)
            window = (sums[:, :, : self.height] + sums[:, :, self.height :]).add_(2).bitwise_right_shift_(2)
            return window.to(torch.uint8).unflatten(3, (self.width, 3))  # (N, T, h, w, 3)
        like = b if self.interpolation == "skimage" else self.like  # the weights are float64 there
        sums = left.to(like).mul_(a0.to(like)).add_(right.to(like).mul_(a1.to(like))).mul_(b.to(like))
        window = sums[:, :, : self.height] + sums[:, :, self.height :]
        return window.to(self.like).unflatten(3, (self.width, 3))


class NormalizeModule(nn.Module):
    """Turns windows into a clip: channel order, scale, mean, standard deviation.

    Attributes:
        mean: what is subtracted, (3, T, h, w) or (3, 1, 1, 1).
        std: what the rest is divided by, (3, 1, 1, 1).

    Args:
        preprocessing: the profile.
        mean: (3, T, h, w), subtracted instead of the profile's channel means.
    """

    def __init__(self, preprocessing: Preprocessing, mean: Tensor | None = None) -> None:
        super().__init__()
        self.bgr = preprocessing.channels == "BGR"
        self.scale = preprocessing.scale
        self.unit = preprocessing.std == (1.0, 1.0, 1.0)
        channels = torch.tensor(preprocessing.mean, dtype=torch.float32).reshape(3, 1, 1, 1)
        self.register_buffer("mean", channels if mean is None else mean.to(torch.float32))
        self.register_buffer("std", torch.tensor(preprocessing.std, dtype=torch.float32).reshape(3, 1, 1, 1))
        self.mean: Tensor
        self.std: Tensor

    def forward(self, windows: Tensor) -> Tensor:
        """Return the clips (N, 3, T, h, w).

        Args:
            windows: (N, T, h, w, 3) of 0-255, RGB.
        """
        red, green, blue = windows[..., 0], windows[..., 1], windows[..., 2]  # (N, T, h, w)
        planes = (blue, green, red) if self.bgr else (red, green, blue)
        clip = torch.stack(planes, 1).to(self.mean)  # (N, 3, T, h, w)
        if self.scale != 1.0:
            clip = clip * self.scale
        clip = clip - self.mean
        if not self.unit:
            clip = clip / self.std
        return clip


class PreprocessingModule(nn.Module):
    """A profile from decoded frames to the network's clip.

    Attributes:
        preprocessing: the profile. Not in TorchScript.
        size: (time, height, width) of the clip.

    Args:
        preprocessing: the profile.
        size: (time, height, width) of the clip.
        mean: (3, T, h, w), subtracted instead of the profile's channel means (`models.preprocessing.mean.fit_mean`).
    """

    __jit_unused_properties__ = ("mean",)

    def __init__(self, preprocessing: Preprocessing, size: Sizes, mean: Tensor | None = None) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.size = size
        self.resize = ResizeModule(preprocessing, (size[1], size[2]))
        self.normalize = NormalizeModule(preprocessing, mean)

    @property
    def mean(self) -> Tensor:
        """What is subtracted, (3, T, h, w) or (3, 1, 1, 1)."""
        return self.normalize.mean

    def forward(self, frames: Tensor) -> Tensor:
        """Return the clips (N, 3, T, h, w), in the dtype of the buffers.

        Args:
            frames: (N, T, H, W, 3), uint8, RGB, of any height and width.

        Raises:
            ValueError: not such frames.
        """
        if frames.dim() == 5 and frames.size(1) != self.size[0]:
            raise ValueError(f"a clip has {self.size[0]} frames; got {frames.size(1)} in frames of {frames.shape}")
        return self.normalize(self.resize(frames))
