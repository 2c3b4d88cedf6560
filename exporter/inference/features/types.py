"""Features as plain data: what is asked for, what goes into files, and what a run returns.

Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from exporter.inference.predictions import ModelRecord, SamplingRecord, VideoFailure, choose_exit_code
from exporter.inference.types import ClipOptions, InferenceOptions, RayOptions
from exporter.video.types import ClipSpan
from models.options import BuildOptions

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
class FeatureRow(ClipSpan):
    """The features of one clip, or of the clips that a row aggregates, and which part of the video that is.

    Attributes:
        features: {layer: its values}, float32, of the layer's shape without the batch axis.
    """

    features: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class FeatureRequest:
    """Everything that decides the features of videos.

    Attributes:
        model: an artifact that returns the layers, another tool's ONNX file, or a checkpoint (a file or an address),
            which is exported with them first.
        videos: files, folders, lists of paths (`.txt`), or addresses.
        layers: outputs of the model.
        inference: engine, device, batch, preprocessing; `outputs` is not used.
        clips: how clips are taken from each video.
        build: how a checkpoint is read.
        aggregate: what a row is: a clip, the video, or one of 32 segments.
        ray: compute on a Ray cluster; None computes in this process. Files are written by this process either way.
    """

    model: str | Path
    videos: tuple[str | Path, ...]
    layers: tuple[str, ...]
    inference: InferenceOptions = field(default_factory=InferenceOptions)
    clips: ClipOptions = field(default_factory=ClipOptions)
    build: BuildOptions = field(default_factory=BuildOptions)
    aggregate: Aggregate = "clips"
    ray: RayOptions | None = None


@dataclass(frozen=True)
class FeatureFiles:
    """Where features are written, and how.

    Attributes:
        folder: a path or URL; it is made if it is not there. What an earlier run has done there is kept.
        format: how the features are stored.
        overwrite: compute again what is there, and replace features that were made in another way.
    """

    folder: str | Path
    format: FeatureFormat = "npy"
    overwrite: bool = False


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
    videos: tuple[VideoFeatureFiles, ...] = ()
    failures: tuple[VideoFailure, ...] = ()
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""
        return choose_exit_code(self.failures)
