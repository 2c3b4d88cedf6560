"""The same convolutions as a `torch.nn.Module` that can be scripted: what TorchScript for CPUs is made of.

The algebra is that of `exporter.passes.winograd.emit`, the operators are not, because other things are fast in torch:

* **Channels lie last**, as in `torch.channels_last_3d`. Cutting overlapping tiles, putting tiles together and pooling
  then copy whole rows of channels, and the product of one place in the tile is (tiles, C) by (C, K).
* **A transform is a copy and a matrix product**: `unfold` is a view of overlapping tiles; one copy brings their places
  to the front, and one small matrix is multiplied with everything after. Convolutions with fixed filters, which
  onnxruntime does well, took two to four times as long here.
* **Time first, space second**, as there. Time is transformed a few clips at once, and space, products and the output
  transform
  run over a few tiles of time (`AT_ONCE`): what one operator leaves is then still near when the next one reads it, and
  blocks of memory stay small enough for the allocator to keep. Larger ones go back to the system after each operator,
  and every page that comes anew is first filled with zeros, which took half of the time of conv3b.
* **The max pool comes before the tiles are put together**, and bias after it; both commute with it.
* **Each part goes to its place in the output**, which is allocated once: no list of parts is joined.

Figures of each variant: benchmarks/results/torchscript.md.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.passes.winograd.cook_toom import TAPS, Transforms, transforms, two_frame_transforms
from exporter.passes.winograd.tile_shape import PLAIN, TileShape

MAX_ELEMENTS = 1 << 22
"""Transformed numbers that are worked on at once; more where one tile of time has more, or a quarter of the weights,
which each part reads anew."""
PAIR = 2
"""Frames that are one tile between zeros."""


class SliceMaxPool(nn.Module):
    """A max pool of pairs of rows and columns, and of frames too if `frames` is 2, as maxima of slices.

    It returns what `nn.MaxPool3d` outputs, number for number, in half of its time and less, because it need not
    remember where a maximum stood.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, C, T or T/2, H/2, W/2), rounded down."""
        rows, columns = x.size(3) // 2 * 2, x.size(4) // 2 * 2
        x = torch.maximum(x[:, :, :, 0:rows:2], x[:, :, :, 1:rows:2])  # (N, C, T, H/2, W)
        x = torch.maximum(x[..., 0:columns:2], x[..., 1:columns:2])  # (N, C, T, H/2, W/2)
        if self.frames == 2:
            frames = x.size(2) // 2 * 2
            x = torch.maximum(x[:, :, 0:frames:2], x[:, :, 1:frames:2])  # (N, C, T/2, H/2, W/2)
        return x


class WinogradConv(nn.Module):
    """A 3x3x3 convolution with padding 1, its bias, and an even max pool after it, in one Winograd tile shape.

    Answers equal the convolution's up to rounding. The transformed weights, computed in float64 and stored in the
    dtype of the convolution's, take `a s / 27` times its room, with `a` and `s` the places of a tile in time and space
    (`a` is 3 where time is not transformed).

    Args:
        conv: kernel 3, stride 1, padding 1, dilation 1, one group, with a bias.
        tile shape: time and space of a tile; one output in time leaves the time axis as it is.
        pooled: frames of the max pool after it, whose windows are 2x2 in space; 0 for none. Sizes that the pool does
            not divide are cut, as `nn.MaxPool3d` cuts them.
        pair: its inputs are always two frames: one tile of two between zeros, with three places instead of four
            (`exporter.passes.winograd.cook_toom.between_zeros`).

    Raises:
        ValueError: another convolution, a pool whose windows would leave a tile, or a pair in tiles of another size.
    """

    weight: Tensor
    bias: Tensor
    cut: Tensor
    back: Tensor
    cut_time: Tensor
    back_time: Tensor

    def __init__(self, conv: nn.Conv3d, tile_shape: TileShape, pooled: int = 0, *, pair: bool = False) -> None:
        super().__init__()
        shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
        if shape != ((TAPS,) * 3, (1,) * 3, (1,) * 3, (1,) * 3, 1, "zeros") or conv.bias is None:
            raise ValueError(f"only a 3x3x3 convolution with stride 1, padding 1 and a bias has this form (got {conv})")
        if pooled not in (0, 1, 2) or (pooled and tile_shape.time % pooled):
            raise ValueError(f"a max pool of {pooled} frames does not fit the tiles of {tile_shape.title}")
        if pair and tile_shape.time != PAIR:
            raise ValueError(f"two frames between zeros are no tile of {tile_shape.title}")
        self.frames, self.side, self.pooled, self.lead = tile_shape.time, tile_shape.space, pooled, int(not pair)
        space = transforms(tile_shape.space)
        time = two_frame_transforms() if pair else None if tile_shape.time == PLAIN else transforms(tile_shape.time)
        self.points = space.points
        dtype = conv.weight.dtype
        weight = transformed(conv.weight, space, time)
        self.at_once = max(MAX_ELEMENTS, weight.numel() // 4)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", conv.bias.detach().clone())
        self.register_buffer("cut", torch.from_numpy(np.kron(space.input, space.input)).to(dtype))
        self.register_buffer("back", torch.from_numpy(np.kron(space.output, space.output)).to(dtype))
        one = np.ones((1, 1))
        self.register_buffer("cut_time", torch.from_numpy(one if time is None else time.input).to(dtype))
        self.register_buffer("back_time", torch.from_numpy(one if time is None else time.output.copy()).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of x, pooled if so built.

        Sizes: n the points of a tile along an axis of space, a along time; m = self.side and u = self.frames its
        outputs, or what the pool leaves of these; t, h, w tiles along the axes.

        Args:
            x: (N, C, T, H, W).

        Returns:
            (N, K, T, H, W), or what the pool leaves of these, in channels_last_3d.

        Raises:
            ValueError: it was built for pairs of frames, and x is none.
        """
        batch, frames, rows, columns = x.size(0), x.size(2), x.size(3), x.size(4)
        if self.lead == 0 and frames != self.frames:
            raise ValueError(f"this form is for {self.frames} frames (got {frames})")
        t, h, w = -(-frames // self.frames), -(-rows // self.side), -(-columns // self.side)
        step, pairs = (2 if self.pooled > 0 else 1), max(1, self.pooled)
        m, u, channels = self.side // step, self.frames // pairs, self.bias.size(0)
        y = torch.empty([batch, t, u, h, m, w, m, channels], dtype=x.dtype, device=x.device)
        x = x.permute(0, 2, 3, 4, 1)  # (N, T, H, W, C)
        clips = max(1, self.at_once // (self.weight.size(0) * t * h * w * max(x.size(4), channels)))
        for first in range(0, batch, clips):
            self.fill(y[first : first + clips].flatten(0, 1), x[first : first + clips])
        y = y.view(batch, t * u, h * m, w * m, channels)
        y = y[:, : frames // pairs, : rows // step, : columns // step]  # (N, T, H, W, K)
        return y.permute(0, 4, 1, 2, 3)  # (N, K, T, H, W)

    def fill(self, y: Tensor, x: Tensor) -> None:
        """Write into y, (N t, u, h, m, w, m, K), the output to x, (N, T, H, W, C)."""
        m, h, w = self.side, y.size(2), y.size(4)
        after = y.size(0) // x.size(0) * self.frames - x.size(1) + self.lead
        x = F.pad(x, [0, 0, 1, 1 + w * m - x.size(3), 1, 1 + h * m - x.size(2), self.lead, after])
        x = self.tiles_of_time(x)  # (a, N t, mh+2, mw+2, C); C is 3 C where time is not transformed
        each = h * w * self.points * self.points * x.size(0) * max(x.size(4), self.bias.size(0))
        steps = max(1, self.at_once // each)
        for first in range(0, x.size(1), steps):
            self.products(y[first : first + steps], x[:, first : first + steps])

    def tiles_of_time(self, x: Tensor) -> Tensor:
        """(N, ut+2 or 2, H, W, C) -> (a, N t, H, W, C), transformed; or (1, N t, H, W, 3 C), the taps side by side."""
        if self.frames == 1:
            x = x.unfold(1, 3, 1).permute(0, 1, 2, 3, 5, 4)  # (N, t, H, W, 3, C)
            return x.flatten(4).flatten(0, 1).unsqueeze(0)  # (1, N t, H, W, 3 C)
        places, inputs = self.cut_time.size(0), self.cut_time.size(1)
        x = x.unfold(1, inputs, self.frames).flatten(0, 1).permute(4, 0, 1, 2, 3)  # (inputs, N t, H, W, C)
        shape = [places, x.size(1), x.size(2), x.size(3), x.size(4)]
        return torch.mm(self.cut_time, x.reshape(inputs, -1)).view(shape)  # (a, N t, H, W, C)

    def products(self, y: Tensor, x: Tensor) -> None:
        """(a, t, mh+2, mw+2, C) to y, (t, u, h, m, w, m, K), pooled if so built."""
        m, n, a, u = self.side, self.points, x.size(0), self.frames
        x = x.unfold(2, n, m).unfold(3, n, m)  # (a, t, h, w, C, n, n)
        t, h, w = x.size(1), x.size(2), x.size(3)
        x = x.permute(5, 6, 0, 1, 2, 3, 4).reshape(n * n, -1)  # (n n, a t h w C)
        x = torch.mm(self.cut, x).view(n * n * a, t * h * w, -1)  # (n n a, t h w, C)
        z = torch.bmm(x, self.weight)  # (n n a, t h w, K)
        z = torch.mm(self.back, z.view(n * n, -1))  # (m m, a t h w K)
        if u > 1:
            z = torch.matmul(self.back_time, z.view(m * m, a, -1))  # (m m, u, t h w K)
        if self.pooled == 2:
            z = z.view(m * m, u // 2, 2, -1)  # (m m, u/2, 2, t h w K)
            z = torch.maximum(z[:, :, 0], z[:, :, 1])  # (m m, u/2, t h w K)
            u = u // 2
        if self.pooled:
            m = m // 2
            z = z.view(m, 2, m, 2, -1)  # (m/2, 2, m/2, 2, u t h w K)
            z = torch.maximum(z[:, 0], z[:, 1])  # (m/2, m/2, 2, u t h w K)
            z = torch.maximum(z[:, :, 0], z[:, :, 1])  # (m/2, m/2, u t h w K)
        z = z.view(m, m, u, t, h, w, -1).permute(3, 2, 4, 0, 5, 1, 6)  # (t, u, h, m, w, m, K)
        y.copy_(z)
        y.add_(self.bias)


def transformed(weight: Tensor, space: Transforms, time: Transforms | None) -> Tensor:
    """Return (s a, C, K), or (s, 3 C, K) where time is None, computed in float64, in the weight's dtype."""
    rows = torch.from_numpy(space.weight)  # (n, 3)
    steps = torch.eye(TAPS).double() if time is None else torch.from_numpy(time.weight)  # (a, 3)
    taps = weight.detach().permute(3, 4, 2, 1, 0).reshape(TAPS**3, -1).double()  # (h w t, C K)
    whole = torch.kron(torch.kron(rows, rows), steps)  # (n n a, h w t)
    held = (whole @ taps).to(weight.dtype)  # (n n a, C K)
    places = space.points**2 * (1 if time is None else time.points)
    return held.view(places, -1, weight.size(0))  # the taps, where they are left, stand before C
