"""The tiles of a convolution: which transforms are used along each axis, and how many tiles there are.

Along time there are three cases. A kernel of a single frame is not transformed. Two frames with one frame of padding on
either side are one tile: `cook_toom.two_frame_transforms`. Everything else is divided into tiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from exporter.passes.conv_pattern import ConvMatch
from exporter.passes.winograd.cook_toom import TAPS, Transforms, transforms, two_frame_transforms
from exporter.passes.winograd.tile_shape import PLAIN, TileShape

MERGE_ROWS = 128
"""If one time step has at least this many tiles, time steps are not merged into one matrix product. With fewer rows,
reading the weights for each step would take longer than merging."""
WEIGHTS_FIRST = 64
"""With fewer rows the weights are the left factor, because engines reorder the right one for each product."""
FEW_ROWS = 32
"""With fewer rows an engine accumulates all channels in one float32, so that every addition rounds."""
MAX_ACCUMULATION = 256
"""Maximum channels accumulated in one float32 sum then; the output transform adds the partial sums. Smaller sums would
be more accurate, but slower by more than that is worth."""
MAX_MATRIX_FRAMES = 32
"""Up to this many frames, the time transform is a product with one matrix over all frames."""

MAX_PRODUCT = 6_000_000
"""Numbers of one matrix product's result (24 MB) for one clip, if time steps are not merged: more are computed one
after another, in the same memory. C3D's conv2 then takes 13 % less time: less of its data leaves the nearer caches and
the processor's page tables. Smaller parts, of rows or of channels, gained nothing beyond that."""

CHANNELS = 16
"""Channels of a block in onnxruntime's layout for images, which takes groups of whole blocks only."""


@dataclass(frozen=True)
class Tiling:
    """The tiles of a convolution.

    Attributes:
        time: the transforms along time; None for a kernel of one frame.
        space: the transforms along rows and columns.
        tiles: the number of tiles along (T, H, W); frames if time is not transformed.
        excess: outputs of the tiles beyond those of the convolution, along (T, H, W).
        lead: frames of padding before the first tile of the convolution.
        channels: input channels, C.
        first: the index along time of the first tile: 0 unless these are a part of a convolution's tiles.
    """

    time: Transforms | None
    space: Transforms
    tiles: tuple[int, int, int]
    excess: tuple[int, int, int]
    lead: int
    channels: int
    first: int = 0

    @property
    def time_points(self) -> int:
        """a, the points of a tile in time."""
        return self.time.points if self.time is not None else 1

    @property
    def space_points(self) -> int:
        """s, the points of a tile in space."""
        return self.space.points**2

    @property
    def plane(self) -> int:
        """p, the tiles of one time step."""
        return self.tiles[1] * self.tiles[2]

    @property
    def merged(self) -> bool:
        """Whether the tiles of all time steps are rows of one matrix product."""
        return self.tiles[0] > 1 and self.plane < MERGE_ROWS

    @property
    def rows(self) -> int:
        """The tiles that are multiplied by the weights at once."""
        return self.plane * (self.tiles[0] if self.merged else 1)

    @property
    def weights_first(self) -> bool:
        """Whether the weights are the left factor, so that channels come before tiles in the product."""
        return self.rows < WEIGHTS_FIRST

    @property
    def parts(self) -> int:
        """q, the parts of the input channels that are accumulated separately."""
        split = self.rows < FEW_ROWS and self.channels % MAX_ACCUMULATION == 0
        return self.channels // MAX_ACCUMULATION if split else 1

    def read_frames(self, frames: int) -> range:
        """Return which of an input's `frames` frames these tiles read, if time is transformed."""
        assert self.time is not None
        start = self.first * self.time.outputs - self.lead
        stop = start + (self.tiles[0] - 1) * self.time.outputs + self.time.inputs
        return range(min(max(start, 0), frames - 1), min(stop, frames))

    def split_time(self, outputs: int) -> list["Tiling"]:
        """Return the parts of time that are computed one after another, for this many output channels, K."""
        times, rows, columns = self.tiles
        if self.time is None or self.merged:
            return [self]
        step = self.time_points * self.space_points * self.plane * outputs
        most = (MAX_MATRIX_FRAMES - self.time.inputs) // self.time.outputs + 1
        count = -(-times // max(1, min(MAX_PRODUCT // step, most)))
        if step * times <= MAX_PRODUCT or count == 1:
            return [self]
        edges = [times * part // count for part in range(count + 1)]
        return [replace(self, tiles=(after - first, rows, columns), first=first) for first, after in pairwise(edges)]


def fits(match: ConvMatch, tile_shape: TileShape) -> bool:
    """Return whether a convolution can be computed in a tile shape; a kernel of one frame does not transform time."""
    if match.taps == 1 or tile_shape.time == PLAIN:
        return match.taps == 1 and tile_shape.time == PLAIN
    if tile_shape.space > PLAIN and match.time_only:
        return False
    if tile_shape.space == PLAIN and (match.inputs % CHANNELS or match.outputs % CHANNELS):
        return False
    poolable = match.pool_window[0] == 1 or tile_shape.time % 2 == 0
    return poolable and (_is_two_frames(match, tile_shape) or match.convolved[0] >= max(tile_shape.time, TAPS))


def tiling(match: ConvMatch, tile_shape: TileShape) -> Tiling:
    """Return the tiles of a convolution in a tile shape that fits it and transforms space."""
    time = None if match.taps == 1 else time_transforms(match, tile_shape)
    steps = (tile_shape.time, tile_shape.space, tile_shape.space)
    tiles = tuple(-(-size // step) for size, step in zip(match.convolved, steps, strict=True))
    excess = tuple(tile * step - size for tile, step, size in zip(tiles, steps, match.convolved, strict=True))
    lead = leading_frames(match, tile_shape)
    return Tiling(time, transforms(tile_shape.space), _triple(tiles), _triple(excess), lead, match.inputs)


def time_transforms(match: ConvMatch, tile_shape: TileShape) -> Transforms:
    """Return the transforms along time of a convolution in a tile shape that fits it."""
    return two_frame_transforms() if _is_two_frames(match, tile_shape) else transforms(tile_shape.time)


def leading_frames(match: ConvMatch, tile_shape: TileShape) -> int:
    """Return the frames of padding before the first tile."""
    return 0 if _is_two_frames(match, tile_shape) else match.window.before[0]


def time_matrix(time: Transforms, first_tile: int, tiles: int, frames: range, lead: int) -> NDArray[np.float64]:
    """Return the matrix that transforms `frames` into `tiles` tiles, (points, tiles, frames); padding is zero.

    Args:
        time: the transforms.
        first_tile: the index of the first of the tiles.
        tiles: how many.
        frames: the frames of the input that are multiplied.
        lead: frames of padding before the first tile of all.
    """
    matrix = np.zeros((time.points, tiles, len(frames)))
    for tile in range(tiles):
        for index in range(time.inputs):
            frame = (first_tile + tile) * time.outputs + index - lead
            if frame in frames:
                matrix[:, tile, frames.index(frame)] = time.input[:, index]
    return matrix


def _is_two_frames(match: ConvMatch, tile_shape: TileShape) -> bool:
    padded = (match.window.before[0], match.window.after[0]) == (1, 1)
    return match.taps == TAPS and tile_shape.time == match.size[0] == 2 and padded


def _triple(values: Sequence[int]) -> tuple[int, int, int]:
    """Return three values as a tuple of three."""
    time, height, width = values
    return time, height, width
