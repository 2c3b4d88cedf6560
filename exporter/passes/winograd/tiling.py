"""How a tile shape lies over a match: which transforms it takes along each axis, and how many tiles.

Along time there are three cases. Taps of a single frame are not transformed. Two frames between one frame of padding
on either side are transformed as a whole: `cook_toom.between_zeros`. Everything else is cut into tiles.
"""

from dataclasses import dataclass

from exporter.passes.winograd.cook_toom import TAPS, Transforms, transforms, two_frame_transforms
from exporter.passes.winograd.pattern import ConvMatch
from exporter.passes.winograd.tile_shape import PLAIN, TileShape

MERGE_ROWS = 128
"""Tiles of one step in time from which a product needs no more rows: the next step's are not brought together with
them. Fewer rows than this do not repay reading the weights once a step."""
WEIGHTS_FIRST = 64
"""Rows below which the weights are the left factor: engines rearrange the right one for each product."""
FEW_ROWS = 32
"""Rows below which an engine sums all channels in one float, and every addition rounds."""
MAX_ACCUMULATION = 256
"""Channels that are then summed in one go. The parts are summed on the output transform, by the product that is there
anyway; more of them would be more accurate, and cost more than they are worth."""
MAX_MATRIX_FRAMES = 32
"""Frames up to which the transform in time is one small matrix over all of them."""


@dataclass(frozen=True)
class Tiling:
    """A tile shape over a match.

    Attributes:
        time: the transforms along time; None where its taps are a single frame.
        space: the transforms along rows and columns.
        tiles: along (T, H, W); frames where time is not transformed.
        over: outputs beyond the convolution's own, along (T, H, W).
        lead: frames of padding before the first tile.
        channels: C, of the input.
    """

    time: Transforms | None
    space: Transforms
    tiles: tuple[int, int, int]
    over: tuple[int, int, int]
    lead: int
    channels: int

    @property
    def steps(self) -> int:
        """Return a, the places of a tile in time."""
        return self.time.points if self.time is not None else 1

    @property
    def places(self) -> int:
        """Return s, the places of a tile in space."""
        return self.space.points**2

    @property
    def plane(self) -> int:
        """Return p, the tiles of one step in time."""
        return self.tiles[1] * self.tiles[2]

    @property
    def merged(self) -> bool:
        """Return whether the tiles of all steps in time are rows of one product."""
        return self.tiles[0] > 1 and self.plane < MERGE_ROWS

    @property
    def rows(self) -> int:
        """Return the tiles that are multiplied with the weights at once."""
        return self.plane * (self.tiles[0] if self.merged else 1)

    @property
    def weights_first(self) -> bool:
        """Return whether the weights are the left factor, so that the result has its channels before its tiles."""
        return self.rows < WEIGHTS_FIRST

    @property
    def parts(self) -> int:
        """Return q, the parts of the input channels that are summed separately."""
        return (
            self.channels // MAX_ACCUMULATION if self.rows < FEW_ROWS and self.channels % MAX_ACCUMULATION == 0 else 1
        )


def fits(match: ConvMatch, tile_shape: TileShape) -> bool:
    """Return whether a tile shape can be laid over a match: time is transformed where it has taps, and only there."""
    if match.taps == 1 or tile_shape.time == PLAIN:
        return match.taps == 1 and tile_shape.time == PLAIN
    pairs = match.window[0] == 1 or tile_shape.time % 2 == 0
    return pairs and (_between_zeros(match, tile_shape) or match.convolved[0] >= max(tile_shape.time, TAPS))


def tiling(match: ConvMatch, tile_shape: TileShape) -> Tiling:
    """Lay `tile shape` over `match`, which it must fit."""
    whole = _between_zeros(match, tile_shape)
    time = None if match.taps == 1 else two_frame_transforms() if whole else transforms(tile_shape.time)
    steps = (tile_shape.time, tile_shape.space, tile_shape.space)
    tiles = tuple(-(-size // step) for size, step in zip(match.convolved, steps, strict=True))
    over = tuple(tile * step - size for tile, step, size in zip(tiles, steps, match.convolved, strict=True))
    lead = 0 if whole else match.before[0]
    return Tiling(
        time,
        transforms(tile_shape.space),
        (tiles[0], tiles[1], tiles[2]),
        (over[0], over[1], over[2]),
        lead,
        match.inputs,
    )


def _between_zeros(match: ConvMatch, tile_shape: TileShape) -> bool:
    padded = (match.before[0], match.after[0]) == (1, 1)
    return match.taps == TAPS and tile_shape.time == match.size[0] == 2 and padded
