"""How a form lies over a site: which transforms it takes along each axis, and how many tiles.

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
"""Channels that are then summed in one go. The parts are summed on the way back, by the product that is there anyway;
more of them would be more accurate, and cost more than they are worth."""
MAX_MATRIX_FRAMES = 32
"""Frames up to which the transform in time is one small matrix over all of them."""


@dataclass(frozen=True)
class Tiling:
    """A form over a site.

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
        """Tell whether the tiles of all steps in time are rows of one product."""
        return self.tiles[0] > 1 and self.plane < MERGE_ROWS

    @property
    def rows(self) -> int:
        """Return the tiles that are multiplied with the weights at once."""
        return self.plane * (self.tiles[0] if self.merged else 1)

    @property
    def weights_first(self) -> bool:
        """Tell whether the weights are the left factor, so that the result has its channels before its tiles."""
        return self.rows < WEIGHTS_FIRST

    @property
    def parts(self) -> int:
        """Return q, the parts of the input channels that are summed apart."""
        return (
            self.channels // MAX_ACCUMULATION if self.rows < FEW_ROWS and self.channels % MAX_ACCUMULATION == 0 else 1
        )


def fits(site: ConvMatch, form: TileShape) -> bool:
    """Tell whether a form can be laid over a site: time is transformed where it has taps, and only there."""
    if site.taps == 1 or form.time == PLAIN:
        return site.taps == 1 and form.time == PLAIN
    pairs = site.window[0] == 1 or form.time % 2 == 0
    return pairs and (_between_zeros(site, form) or site.convolved[0] >= max(form.time, TAPS))


def tiling(site: ConvMatch, form: TileShape) -> Tiling:
    """Lay `form` over `site`, which it must fit."""
    whole = _between_zeros(site, form)
    time = None if site.taps == 1 else two_frame_transforms() if whole else transforms(form.time)
    steps = (form.time, form.space, form.space)
    tiles = tuple(-(-size // step) for size, step in zip(site.convolved, steps, strict=True))
    over = tuple(tile * step - size for tile, step, size in zip(tiles, steps, site.convolved, strict=True))
    lead = 0 if whole else site.before[0]
    return Tiling(
        time, transforms(form.space), (tiles[0], tiles[1], tiles[2]), (over[0], over[1], over[2]), lead, site.inputs
    )


def _between_zeros(site: ConvMatch, form: TileShape) -> bool:
    padded = (site.before[0], site.after[0]) == (1, 1)
    return site.taps == TAPS and form.time == site.size[0] == 2 and padded
