"""What `features` gives, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exporter.inference.features.types import Aggregate, FeatureFormat, FeatureRow
from exporter.inference.predictions import ModelRecord, SamplingRecord, VideoFailure, choose_exit_code

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class VideoFeatures:
    """The features of one video.

    Attributes:
        source: the video, as the user named it.
        features: {layer: (rows, …) float32}.
        rows: the frames and times that each row is of; their features are views of the arrays.
        notes: what the user should know about the video: corrupt packets that were skipped, ….
    """

    source: str
    features: Mapping[str, NDArray[np.float32]] = field(repr=False)
    rows: tuple[FeatureRow, ...] = field(repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class VideoFeatureFiles:
    """A video whose features are in files.

    Attributes:
        source: the video, as the user named it.
        name: its name among the files.
        rows: how many rows were written; 0 for a video that is shorter than a clip, where such videos are skipped.
        clips: how many clips they were made of.
        files: what was written for it, relative to the folder; empty for Parquet, where all videos are in one file.
        kept: whether an earlier run had done it.
        notes: what the user should know about the video.
    """

    source: str
    name: str
    rows: int
    clips: int
    files: tuple[str, ...]
    kept: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class FeaturesResult:
    """What `features` wrote.

    Attributes:
        model: the model that ran.
        sampling: how clips were taken from each video.
        layers: {output of the model: shape of its values for one clip}.
        aggregate: what a row is.
        format: how the features are stored.
        output: the folder.
        videos: the videos that have features now, in the order in which they were ready.
        failures: the videos that have none.
        files: files of all videos together that were written, relative to the folder.
        notes: what the user should know.
        seconds: how long it took, the loading of the model included.
    """

    model: ModelRecord
    sampling: SamplingRecord
    layers: Mapping[str, tuple[int, ...]]
    aggregate: Aggregate
    format: FeatureFormat
    output: str
    videos: tuple[VideoFeatureFiles, ...]
    failures: tuple[VideoFailure, ...]
    files: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""
        return choose_exit_code(self.failures)
