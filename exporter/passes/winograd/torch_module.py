"""The same convolutions as a `torch.nn.Module` that can be scripted: what TorchScript for CPUs is made of.

The algebra is that of `exporter.passes.winograd.graph`, the operators are not, because other things are fast in torch:

* **Channels lie last**, as in `torch.channels_last_3d`. Cutting overlapping tiles, putting tiles together and pooling
  then copy whole rows of channels, and the product of one place in the tile is (tiles, C) by (C, K).
* **A transform is a copy and a matrix product**: `unfold` is a view of overlapping tiles; one copy brings their places
  to the front, and one small matrix is multiplied with everything behind. Convolutions with fixed filters, which
  onnxruntime does well, took two to four times as long here.
* **Time first, space second**, as there. Space, products and the way back run over a few tiles of time at once
  (`AT_ONCE`): what one operator leaves is then still near when the next one reads it.
* **The max pool comes before the tiles are put together**, and bias behind it; both commute with it.

Figures of each variant: docs/benchmarks.md, "TorchScript on CPU".
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.passes.winograd.cook_toom import TAPS, transforms
from exporter.passes.winograd.forms import PLAIN, Form

AT_ONCE = 1 << 22
"""Transformed numbers that are worked on at once; more where one tile of time has more, or half of the weights, which
each part reads anew."""


class HalvingPool(nn.Module):
    """A max pool of pairs of rows and columns, and of frames too if `frames` is 2, as maxima of slices.

    It answers what `nn.MaxPool3d` answers, number for number, in half of its time and less, because it need not
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
        if self.frames == 2:  # noqa: PLR2004 - pairs
            frames = x.size(2) // 2 * 2
            x = torch.maximum(x[:, :, 0:frames:2], x[:, :, 1:frames:2])  # (N, C, T/2, H/2, W/2)
        return x


class WinogradConv(nn.Module):
    """A 3x3x3 convolution with padding 1, its bias, and an even max pool behind it, in one Winograd form.

    Answers equal the convolution's up to rounding. The transformed weights, computed in float64 and stored in the
    dtype of the convolution's, take `a s / 27` times its room, with `a` and `s` the places of a tile in time and space
    (`3 s / 27` where time is not transformed).

    Args:
        conv: kernel 3, stride 1, padding 1, dilation 1, one group, with a bias.
        form: time and space of a tile; one output in time leaves the time axis as it is.
        pooled: frames of the max pool behind it, whose windows are 2x2 in space; 0 for none. Sizes that the pool does
            not divide are cut, as `nn.MaxPool3d` cuts them.

    Raises:
        ValueError: another convolution, or a pool whose windows would leave a tile.
    """

    weight: Tensor
    bias: Tensor
    cut: Tensor
    back: Tensor
    cut_time: Tensor
    back_time: Tensor

    def __init__(self, conv: nn.Conv3d, form: Form, pooled: int = 0) -> None:
        super().__init__()
        shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
        if shape != ((TAPS,) * 3, (1,) * 3, (1,) * 3, (1,) * 3, 1, "zeros") or conv.bias is None:
            raise ValueError(f"only a 3x3x3 convolution with stride 1, padding 1 and a bias has this form (got {conv})")
        if pooled not in (0, 1, 2) or (pooled and form.time % pooled):
            raise ValueError(f"a max pool of {pooled} frames does not fit the tiles of {form.title}")
        self.frames, self.side, self.pooled = form.time, form.space, pooled
        space = transforms(form.space)
        self.points, self.places = space.points, form.time_points
        dtype = conv.weight.dtype
        weight = transformed(conv.weight, form)
        self.at_once = max(AT_ONCE, weight.numel() // 2)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", conv.bias.detach().clone())
        self.register_buffer("cut", torch.from_numpy(np.kron(space.input, space.input)).to(dtype))
        self.register_buffer("back", torch.from_numpy(np.kron(space.output, space.output)).to(dtype))
        time = transforms(form.time) if form.time > PLAIN else None
        one = np.ones((1, 1))
        self.register_buffer("cut_time", torch.from_numpy(one if time is None else time.input).to(dtype))
        self.register_buffer("back_time", torch.from_numpy(one if time is None else time.output).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of x, pooled if so built.

        Sizes: n the points of a tile along an axis of space, a along time; m = self.side and u = self.frames its
        outputs; t, h, w tiles along the axes.

        Args:
            x: (N, C, T, H, W).

        Returns:
            (N, K, T, H, W), or what the pool leaves of these, in channels_last_3d.
        """
        batch, frames, rows, columns = x.size(0), x.size(2), x.size(3), x.size(4)
        m, n, u = self.side, self.points, self.frames
        over = [-columns % m, -rows % m, -frames % u]
        x = x.permute(0, 2, 3, 4, 1)  # (N, T, H, W, C)
        x = F.pad(x, [0, 0, 1, 1 + over[0], 1, 1 + over[1], 1, 1 + over[2]])  # (N, ut+2, mh+2, mw+2, C)
        x = self.tiles_of_time(x)  # (a, N t, mh+2, mw+2, C); C is 3 C where time is not transformed
        tiles = ((rows + over[1]) // m) * ((columns + over[0]) // m)
        each = tiles * n * n * x.size(0) * max(x.size(4), self.bias.size(0))
        parts = [self.products(part) for part in x.split(max(1, self.at_once // each), dim=1)]
        y = torch.cat(parts)  # (N t, u, mh, mw, K), the middle ones as the pool leaves them
        y = y.view(batch, -1, y.size(2), y.size(3), y.size(4))  # (N, ut, mh, mw, K)
        step = 2 if self.pooled else 1
        y = y[:, : frames // max(1, self.pooled), : rows // step, : columns // step]  # (N, T, H, W, K)
        return (y + self.bias).permute(0, 4, 1, 2, 3)  # (N, K, T, H, W)

    def tiles_of_time(self, x: Tensor) -> Tensor:
        """(N, ut+2, H, W, C) -> (a, N t, H, W, C), transformed; or (1, N t, H, W, 3 C), the taps side by side."""
        if self.frames == 1:
            x = x.unfold(1, 3, 1).permute(0, 1, 2, 3, 5, 4)  # (N, t, H, W, 3, C)
            return x.flatten(4).flatten(0, 1).unsqueeze(0)  # (1, N t, H, W, 3 C)
        a = self.places
        x = x.unfold(1, a, self.frames).flatten(0, 1).permute(4, 0, 1, 2, 3)  # (a, N t, H, W, C)
        shape = x.shape
        return torch.mm(self.cut_time, x.reshape(a, -1)).view(shape)  # (a, N t, H, W, C)

    def products(self, x: Tensor) -> Tensor:
        """(a, t, mh+2, mw+2, C) -> (t, u, mh, mw, K), pooled if so built: space, products, the way back."""
        m, n, a, u = self.side, self.points, self.places, self.frames
        x = x.unfold(2, n, m).unfold(3, n, m)  # (a, t, h, w, C, n, n)
        t, h, w = x.size(1), x.size(2), x.size(3)
        x = x.permute(5, 6, 0, 1, 2, 3, 4).reshape(n * n, -1)  # (n n, a t h w C)
        x = torch.mm(self.cut, x).view(n * n * a, t * h * w, -1)  # (n n a, t h w, C)
        y = torch.bmm(x, self.weight)  # (n n a, t h w, K)
        y = torch.mm(self.back, y.view(n * n, -1))  # (m m, a t h w K)
        if u > 1:
            y = torch.matmul(self.back_time, y.view(m * m, a, -1))  # (m m, u, t h w K)
        if self.pooled == 2:  # noqa: PLR2004 - pairs of frames
            y = y.view(m * m, u // 2, 2, -1)  # (m m, u/2, 2, t h w K)
            y = torch.maximum(y[:, :, 0], y[:, :, 1])  # (m m, u/2, t h w K)
            u = u // 2
        if self.pooled:
            m = m // 2
            y = y.view(m, 2, m, 2, -1)  # (m/2, 2, m/2, 2, u t h w K)
            y = torch.maximum(y[:, 0], y[:, 1])  # (m/2, m/2, 2, u t h w K)
            y = torch.maximum(y[:, :, 0], y[:, :, 1])  # (m/2, m/2, u t h w K)
        y = y.view(m, m, u, t, h, w, -1)  # (m, m, u, t, h, w, K)
        return y.permute(3, 2, 4, 0, 5, 1, 6).reshape(t, u, h * m, w * m, -1)  # (t, u, mh, mw, K)


def transformed(weight: Tensor, form: Form) -> Tensor:
    """Return (s a, C, K), or (s, 3 C, K) where time is not transformed, computed in float64, in the weight's dtype."""
    space = torch.from_numpy(transforms(form.space).weight)  # (n, 3)
    time = torch.eye(TAPS).double() if form.time == PLAIN else torch.from_numpy(transforms(form.time).weight)  # (a, 3)
    taps = weight.detach().permute(3, 4, 2, 1, 0).reshape(TAPS**3, -1).double()  # (h w t, C K)
    whole = torch.kron(torch.kron(space, space), time)  # (n n a, h w t)
    held = (whole @ taps).to(weight.dtype)  # (n n a, C K)
    places = form.space_points * form.time_points
    return held.view(places, -1, weight.size(0))  # the taps, where they are left, stand in front of C
