"""Tile shapes: how many outputs are computed at once."""

from dataclasses import dataclass

from exporter.passes.winograd.cook_toom import POINTS

PLAIN = 1
"""Tiles of one output along an axis, which is then not transformed. In ONNX graphs it is time of kernels of one frame,
or rows and columns."""


@dataclass(frozen=True)
class TileShape:
    """A tile of `time` x `space` x `space` outputs.

    Attributes:
        time: frames; 1 does not transform the time axis.
        space: rows, and columns; 1 transforms neither.
    """

    time: int
    space: int

    @property
    def title(self) -> str:
        """Return `winograd 4x4x4`."""
        return f"winograd {self.time}x{self.space}x{self.space}"


DIRECT = "direct"
"""The name of the original convolution."""

TILE_SHAPES: tuple[TileShape, ...] = tuple(
    sorted(
        (TileShape(time, space) for space in (PLAIN, *POINTS) for time in (PLAIN, *POINTS) if max(time, space) > PLAIN),
        key=lambda shape: shape.time * shape.space**2,
    )
)
"""All tile shapes, the most accurate first: larger tiles amplify rounding errors more."""
