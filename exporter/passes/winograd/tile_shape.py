"""The tile shapes that a convolution can take: the tile of outputs that is computed at once."""

from dataclasses import dataclass

from exporter.passes.winograd.cook_toom import POINTS

PLAIN = 1
"""A tile of one output along time, which is not transformed. ONNX graphs take it for kernels of one frame alone."""


@dataclass(frozen=True)
class TileShape:
    """A Winograd tile shape: `time` x `space` x `space` outputs a tile.

    Attributes:
        time: frames a tile; 1 leaves the time axis as it is.
        space: rows and columns a tile.
    """

    time: int
    space: int

    @property
    def title(self) -> str:
        """Return `winograd 4x4x4`."""
        return f"winograd {self.time}x{self.space}x{self.space}"


DIRECT = "direct"
"""The name of the convolution as it is."""

TILE_SHAPES: tuple[TileShape, ...] = tuple(
    sorted(
        (TileShape(time, space) for space in POINTS for time in (PLAIN, *POINTS)),
        key=lambda tile_shape: tile_shape.time * tile_shape.space * tile_shape.space,
    )
)
"""Every tile shape, the most accurate first: larger tiles amplify rounding more."""
