"""What goes into feature files, as plain data. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
