"""Bilinear resizing as the origins' libraries compute it, at the pixels of a window only.

`opencv` is `cv2.resize(uint8, INTER_LINEAR)`, bit for bit. Positions are half-pixel centres in float32; their weights
are rounded to 11 bits, half to even. Along x a position beyond the edge takes the edge pixel alone; along y only the
index is limited. With a, b the weights along x and y (opencv, modules/imgproc/src/resize.cpp, HResizeLinear and
VResizeLinear):

    S = a0 * left + a1 * right                                   int32, one for each of two rows
    pixel = ((S0 >> 4) * b0 >> 16) + ((S1 >> 4) * b1 >> 16) + 2 >> 2

At a scale of exactly 2 OpenCV takes INTER_AREA instead, which is this formula with four weights of 1024.

`torch` is `interpolate(mode="bilinear", align_corners=False)`: float32 positions and weights. `skimage` is
scikit-image 0.13's `resize`: float64 positions, and 0 for what lies beyond the edges.

Only tensors depend on a frame's height and width, never a shape or a branch, so that `torch.jit.script` and
`torch.export` with a dynamic height and width compute the same.
"""

from __future__ import annotations

import torch
from torch import Tensor


def resized_size(height: Tensor, width: Tensor, short: int, add: float) -> tuple[Tensor, Tensor]:
    """Return the height and width of a frame whose shorter side becomes `short` and whose ratio is kept.

    Args:
        height: float64, 0-d.
        width: float64, 0-d.
        short: the shorter side's new length; a square frame's width.
        add: what is added to the longer side's exact length before it is rounded down.
    """
    scale = short / torch.minimum(height, width)
    given = torch.full_like(scale, float(short))
    wide = width > height
    return (
        torch.where(wide, given, torch.floor(height * scale + add)),
        torch.where(wide, torch.floor(width * scale + add), given),
    )


def source_positions(size: Tensor, resized: Tensor, first: Tensor, count: int) -> Tensor:
    """Return where pixels of a resized axis lie on the source's axis: float64 (count,).

    Args:
        size: the source's length, float64, 0-d.
        resized: the length after the resize, float64, 0-d.
        first: the window's first pixel, float64, 0-d.
        count: the window's length.
    """
    scale = 1.0 / (resized / size)  # two roundings, as in OpenCV
    return (torch.arange(count, dtype=torch.float64, device=size.device) + first + 0.5) * scale - 0.5


def torch_positions(size: Tensor, resized: Tensor, first: Tensor, count: int) -> Tensor:
    """Return what `source_positions` returns as `torch.nn.functional.interpolate` computes it: float32, at least 0."""
    scale = (size.to(torch.float32) / resized.to(torch.float32)).to(torch.float64)
    pixels = torch.arange(count, dtype=torch.float64, device=size.device) + first
    # torch's kernel rounds the product and the difference once, with a fused multiply-add
    return torch.clamp((scale * (pixels + 0.5) - 0.5).to(torch.float32), min=0.0)


def neighbours(low: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the indices of the pixels at `low` and after it, moved to the edge where they lie beyond it: int64."""
    index = low.to(torch.int64)
    return torch.clamp(index, 0, size - 1), torch.clamp(index + 1, 0, size - 1)


def opencv_weights(positions: Tensor, size: Tensor, limit: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return (index of the lower pixel, its weight, the next pixel's weight): float32, and int32 in 11 bits.

    Args:
        positions: float64.
        size: the source's length, float64, 0-d.
        limit: take the edge pixel alone beyond the edge, which OpenCV does along x only.
    """
    exact = positions.to(torch.float32)
    low = torch.floor(exact)
    part = exact - low
    if limit:
        last = size.to(torch.float32) - 1.0
        part = torch.where((low < 0.0) | (low >= last), torch.zeros_like(part), part)
        low = torch.minimum(torch.clamp(low, min=0.0), last)
    # 2048 is a weight of 1; torch.round takes the even neighbour of a half, as OpenCV does
    return low, torch.round((1.0 - part) * 2048.0).to(torch.int32), torch.round(part * 2048.0).to(torch.int32)


def float_weights(positions: Tensor, size: Tensor, zero_outside: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return (index of the lower pixel, its weight, the next pixel's weight), as floats.

    Args:
        positions: float32 or float64.
        size: the source's length, float64, 0-d.
        zero_outside: pixels beyond the edges count as 0; otherwise the edge's is taken.
    """
    low = torch.floor(positions)
    after = positions - low
    before = 1.0 - after
    if zero_outside:
        last = size.to(low.dtype) - 1.0
        before = torch.where((low < 0.0) | (low > last), torch.zeros_like(before), before)
        after = torch.where((low + 1.0 < 0.0) | (low + 1.0 > last), torch.zeros_like(after), after)
    return low, before, after
