"""What goes into feature files, as plain data. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from exporter.inference.features.record import VideoRecord

FeatureFormat = Literal["npy", "parquet", "c3d"]
"""`npy`: an array for each video; `parquet`: one table; `c3d`: a folder for each video, with a file for each clip in
the binary format of Facebook's C3D."""
FEATURE_FORMATS: tuple[FeatureFormat, ...] = ("npy", "parquet", "c3d")

Aggregate = Literal["clips", "mean", "segments", "segments-ekosman"]
"""What a row is: a clip, the video's descriptor, or one of 32 segments; see `exporter.inference.features.aggregate`."""
AGGREGATES: tuple[Aggregate, ...] = ("clips", "mean", "segments", "segments-ekosman")


@dataclass(frozen=True)
class FeatureRow:
    """The features of one clip, or of what clips were aggregated to.

    Attributes:
        index: its position in the video, from 0.
        first: number of its first frame in the video, from 0.
        last: number of its last frame.
        start: time of the first frame, in seconds from the start of the video.
        end: time at which the last frame ends.
        repeated: how many of its frames were added because the video is shorter than a clip.
        features: {layer: its values}, float32, of the layer's shape without the batch axis.
    """

    index: int
    first: int
    last: int
    start: float
    end: float
    repeated: int
    features: Mapping[str, NDArray[np.float32]]


class FeatureWriter(Protocol):
    """Writes the rows of one video to files below a staging folder, with memory for a bounded number of rows."""

    def append(self, row: FeatureRow) -> None:
        """Write the next row.

        Raises:
            OSError: the disk is full, ….
        """
        ...

    def finish(self, record: VideoRecord) -> tuple[Path, ...]:
        """Complete the files and return them in the order in which they are to be published.

        Args:
            record: the video's, for formats that keep it inside; without the files' sizes.

        Raises:
            OSError: the disk is full, ….
        """
        ...

    def close(self) -> None:
        """Close the files. Those that are not finished are of no use."""
        ...
