"""The same convolutions as a `torch.nn.Module` that can be scripted and exported, for torch on CPUs.

The algebra is that of `exporter.passes.winograd.emit`; the operators differ, because others are fast in torch:

* **Channels are the last axis**, as in `torch.channels_last_3d`. Slicing overlapping tiles, assembling tiles and
  pooling then copy whole rows of channels, and the product at one point of the tile is (tiles, C) by (C, K).
* **A transform is a copy and a matrix product**: `unfold` is a view of overlapping tiles; one copy moves their points
  to the front, and one small matrix is multiplied by everything else. Convolutions with fixed filters, which
  onnxruntime does well, took two to four times as long here.
* **Time first, space second**, as there. Time is transformed for a few clips at once, and the space transform, the
  products and the output transform run over a few tiles in time (`MAX_ELEMENTS`): the output of one operator is then
  still in the cache when the next one reads it, and memory blocks stay small enough for the allocator to keep. Larger
  ones are returned to the system after each operator, and every new page is first filled with zeros, which took half of
  the time of a large layer.
* **The max pool comes before the tiles are assembled**, and the bias after it; both commute with it.
* **Each part is written to its position in the output**, which is allocated once, so that nothing is concatenated.

Times of each variant: benchmarks/results/torchscript.md.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._higher_order_ops.map import map as map_clips  # the loop that torch.export keeps; torch has no public name

from exporter.passes.winograd.cook_toom import TAPS, Transforms, transforms, two_frame_transforms
from exporter.passes.winograd.tile_shape import PLAIN, TileShape

MAX_ELEMENTS = 1 << 22
"""Transformed numbers that are processed at once. A part has more if a single tile in time has more, or if the weights
have more than four times as many, because each part reads all weights again."""
TWO_FRAMES = 2
MIN_TOGETHER = 4
"""If at least this many clips fit into a part, `ExportableWinogradConv` processes all clips of the layer together."""


class SliceMaxPool(nn.Module):
    """A max pool of pairs of rows and columns, and of frames too if `frames` is 2, as maxima of slices.

    It returns exactly what `nn.MaxPool3d` returns, in less than half of the time, because it does not record the
    position of each maximum.
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
    """A 3x3x3 convolution with padding 1 and bias, and an even max pool after it, computed by Winograd's method.

    The output equals the convolution's up to rounding. The transformed weights, computed in float64 and stored in the
    dtype of the original ones, take `a s / 27` times their space, with `a` and `s` the points of a tile in time and
    space (`a` is 3 if time is not transformed).

    Args:
        conv: kernel 3, stride 1, padding 1, dilation 1, one group, with a bias.
        tile_shape: outputs of a tile in time and space; one output in time does not transform the time axis.
        pool_frames: frames of the max pool after it, whose windows are 2x2 in space; 0 for no pool. Sizes that the
            pool does not divide are rounded down, as in `nn.MaxPool3d`.
        two_frames: inputs always have two frames, which are one tile with three points instead of four
            (`exporter.passes.winograd.cook_toom.two_frame_transforms`).

    Raises:
        ValueError: another convolution, a pool whose windows are not inside tiles, or `two_frames` with other tiles.
    """

    weight: Tensor
    bias: Tensor
    input_transform: Tensor
    output_transform: Tensor
    input_transform_time: Tensor
    output_transform_time: Tensor

    def __init__(
        self,
        conv: nn.Conv3d,
        tile_shape: TileShape,
        pool_frames: int = 0,
        *,
        two_frames: bool = False,
    ) -> None:
        super().__init__()
        shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
        if shape != ((TAPS,) * 3, (1,) * 3, (1,) * 3, (1,) * 3, 1, "zeros") or conv.bias is None:
            raise ValueError(
                f"only a 3x3x3 convolution with stride 1, padding 1 and a bias can be rewritten (got {conv})"
            )
        if pool_frames not in (0, 1, 2) or (pool_frames and tile_shape.time % pool_frames):
            raise ValueError(f"a max pool of {pool_frames} frames does not fit the tiles of {tile_shape.title}")
        if two_frames and tile_shape.time != TWO_FRAMES:
            raise ValueError(f"two frames are no tile of {tile_shape.title}")
        self.frames, self.side, self.pool_frames, self.lead = (
            tile_shape.time,
            tile_shape.space,
            pool_frames,
            int(not two_frames),
        )
        space = transforms(tile_shape.space)
        time = (
            two_frame_transforms() if two_frames else None if tile_shape.time == PLAIN else transforms(tile_shape.time)
        )
        self.points = space.points
        dtype = conv.weight.dtype
        weight = transform_weights(conv.weight, space, time)
        self.max_elements = max(MAX_ELEMENTS, weight.numel() // 4)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", conv.bias.detach().clone())
        self.register_buffer("input_transform", torch.from_numpy(np.kron(space.input, space.input)).to(dtype))
        self.register_buffer("output_transform", torch.from_numpy(np.kron(space.output, space.output)).to(dtype))
        one = np.ones((1, 1))
        self.register_buffer("input_transform_time", torch.from_numpy(one if time is None else time.input).to(dtype))
        self.register_buffer(
            "output_transform_time", torch.from_numpy(one if time is None else time.output.copy()).to(dtype)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of x, and the max pool of that if there is one.

        Sizes: n the points of a tile along an axis of space, a along time; m = self.side and u = self.frames its
        outputs, after the pool; t, h, w tiles along the axes.

        Args:
            x: (N, C, T, H, W).

        Returns:
            (N, K, T, H, W), after the pool, in channels_last_3d.

        Raises:
            ValueError: it was built for two frames, and x has another number.
        """
        x = self.channels_last(x)
        y = self.allocate(x)
        clips = self.count_clips(x)
        for first in range(0, x.size(0), clips):
            part = x[first : first + clips]
            self.fill(y[first : first + clips], part, part.size(0))
        return self.assemble(y, x).permute(0, 4, 1, 2, 3)  # (N, K, T, H, W)

    def channels_last(self, x: Tensor) -> Tensor:
        """Check the frames of x, and return (N, C, T, H, W) as (N, T, H, W, C)."""
        if self.lead == 0 and x.size(2) != self.frames:
            raise ValueError(f"this convolution takes {self.frames} frames (got {x.size(2)})")
        return x.permute(0, 2, 3, 4, 1)

    def allocate(self, x: Tensor) -> Tensor:
        """Return an empty (N, t, u, h, m, w, m, K) for the output tiles of x, (N, T, H, W, C)."""
        t, h, w = -(-x.size(1) // self.frames), -(-x.size(2) // self.side), -(-x.size(3) // self.side)
        m, u = self.side // (2 if self.pool_frames > 0 else 1), self.frames // max(1, self.pool_frames)
        return torch.empty([x.size(0), t, u, h, m, w, m, self.bias.size(0)], dtype=x.dtype, device=x.device)

    def count_clips(self, x: Tensor) -> int:
        """Return how many clips of x, (N, T, H, W, C), are processed at once, at least one."""
        t, h, w = -(-x.size(1) // self.frames), -(-x.size(2) // self.side), -(-x.size(3) // self.side)
        each = self.weight.size(0) * t * h * w * max(x.size(4), self.bias.size(0))
        return max(1, self.max_elements // each)

    def assemble(self, y: Tensor, x: Tensor) -> Tensor:
        """Return the tiles y, (N, t, u, h, m, w, m, K), as the output for x: (N, T, H, W, K) after the pool."""
        y = y.flatten(5, 6).flatten(3, 4).flatten(1, 2)  # (N, t u, h m, w m, K)
        step = 2 if self.pool_frames > 0 else 1
        return y[:, : x.size(1) // max(1, self.pool_frames), : x.size(2) // step, : x.size(3) // step]

    def fill(self, y: Tensor, x: Tensor, clips: int) -> None:
        """Write the output for x, (N, T, H, W, C), into y, (N, t, u, h, m, w, m, K), in parts for `clips` clips."""
        t, m, h, w = y.size(1), self.side, y.size(3), y.size(5)
        after = t * self.frames - x.size(1) + self.lead
        x = F.pad(x, [0, 0, 1, 1 + w * m - x.size(3), 1, 1 + h * m - x.size(2), self.lead, after])
        x = self.transform_time(x)  # (a, N, t, mh+2, mw+2, C); C is 3 C if time is not transformed
        each = h * w * self.points * self.points * x.size(0) * clips * max(x.size(5), self.bias.size(0))
        steps = max(1, self.max_elements // each)
        for first in range(0, t, steps):
            self.multiply_tiles(y[:, first : first + steps], x[:, :, first : first + steps])

    def transform_time(self, x: Tensor) -> Tensor:
        """(N, ut+2 or 2, H, W, C) -> (a, N, t, H, W, C), transformed; or (1, N, t, H, W, 3 C) with the taps beside."""
        if self.frames == 1:
            x = x.unfold(1, 3, 1).permute(0, 1, 2, 3, 5, 4)  # (N, t, H, W, 3, C)
            return x.flatten(4).unsqueeze(0)  # (1, N, t, H, W, 3 C)
        points, inputs = self.input_transform_time.size(0), self.input_transform_time.size(1)
        x = x.unfold(1, inputs, self.frames).permute(5, 0, 1, 2, 3, 4)  # (inputs, N, t, H, W, C)
        shape = [points, x.size(1), x.size(2), x.size(3), x.size(4), x.size(5)]
        return torch.mm(self.input_transform_time, x.reshape(inputs, -1)).view(shape)  # (a, N, t, H, W, C)

    def multiply_tiles(self, y: Tensor, x: Tensor) -> None:
        """(a, N, t, mh+2, mw+2, C) to y, (N, t, u, h, m, w, m, K), with the pool if there is one."""
        m, n, a, u = self.side, self.points, x.size(0), self.frames
        x = x.unfold(3, n, m).unfold(4, n, m)  # (a, N, t, h, w, C, n, n)
        batch, t, h, w = x.size(1), x.size(2), x.size(3), x.size(4)
        x = x.permute(6, 7, 0, 1, 2, 3, 4, 5).reshape(n * n, -1)  # (n n, a N t h w C)
        x = torch.mm(self.input_transform, x).view(n * n * a, batch * t * h * w, -1)  # (n n a, N t h w, C)
        z = torch.bmm(x, self.weight)  # (n n a, N t h w, K)
        z = torch.mm(self.output_transform, z.view(n * n, -1))  # (m m, a N t h w K)
        if u > 1:
            z = torch.matmul(self.output_transform_time, z.view(m * m, a, -1))  # (m m, u, N t h w K)
        if self.pool_frames == 2:
            z = z.view(m * m, u // 2, 2, -1)  # (m m, u/2, 2, N t h w K)
            z = torch.maximum(z[:, :, 0], z[:, :, 1])  # (m m, u/2, N t h w K)
            u = u // 2
        if self.pool_frames:
            m = m // 2
            z = z.view(m, 2, m, 2, -1)  # (m/2, 2, m/2, 2, u N t h w K)
            z = torch.maximum(z[:, 0], z[:, 1])  # (m/2, m/2, 2, u N t h w K)
            z = torch.maximum(z[:, :, 0], z[:, :, 1])  # (m/2, m/2, u N t h w K)
        z = z.view(m, m, u, batch, t, h, w, -1).permute(3, 4, 2, 5, 0, 6, 1, 7)  # (N, t, u, h, m, w, m, K)
        y.copy_(z)
        y.add_(self.bias)


class ExportableWinogradConv(WinogradConv):
    """The same for `torch.export`, whose programs take any batch: it unrolls Python's loops, and keeps torch's `map`.

    No size of a part may be computed from the batch: the program would have that of the example. With all clips in
    each part, blocks of memory grow with the batch, and every operator gets new pages (`MAX_ELEMENTS`): at 8 clips of
    the full C3D, 5.6 GB a run. So clips are processed one by one, but in layers so small that `MIN_TOGETHER` fit into a
    part: there reading the weights takes most of the time, and all clips are processed together.

    Args:
        loop: False processes all clips together in every layer, for AOTInductor: what torch 2.13 generates for several
            `map` is C++ that does not compile.
    """

    def __init__(
        self, conv: nn.Conv3d, tile_shape: TileShape, pool_frames: int = 0, *, two_frames: bool = False, loop: bool
    ) -> None:
        super().__init__(conv, tile_shape, pool_frames, two_frames=two_frames)
        self.loop = loop

    def forward(self, x: Tensor) -> Tensor:
        """As `WinogradConv.forward`; only `torch.export` should call it."""
        x = self.channels_last(x)
        together = not self.loop or self.count_clips(x) >= MIN_TOGETHER
        y = self.convolve(x) if together else map_clips(self.convolve_one, x)  # pyright: ignore[reportArgumentType]
        return y.permute(0, 4, 1, 2, 3)  # (N, K, T, H, W)

    def convolve_one(self, clip: Tensor) -> Tensor:
        """(T, H, W, C) -> (T, H, W, K), after the pool."""
        return self.convolve(clip.unsqueeze(0)).squeeze(0)

    def convolve(self, x: Tensor) -> Tensor:
        """(N, T, H, W, C) -> (N, T, H, W, K), after the pool, in parts as for one clip."""
        y = self.allocate(x)
        self.fill(y, x, 1)
        return self.assemble(y, x)


def transform_weights(weight: Tensor, space: Transforms, time: Transforms | None) -> Tensor:
    """Return (s a, C, K), or (s, 3 C, K) where time is None, computed in float64, in the weight's dtype."""
    rows = torch.from_numpy(space.weight)  # (n, 3)
    steps = torch.eye(TAPS).double() if time is None else torch.from_numpy(time.weight)  # (a, 3)
    taps = weight.detach().permute(3, 4, 2, 1, 0).reshape(TAPS**3, -1).double()  # (h w t, C K)
    matrix = torch.kron(torch.kron(rows, rows), steps)  # (n n a, h w t)
    transformed = (matrix @ taps).to(weight.dtype)  # (n n a, C K)
    points = space.points**2 * (1 if time is None else time.points)
    return transformed.view(points, -1, weight.size(0))  # taps that are not transformed come before C
