"""What features are asked for, and where they are written. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from exporter.inference.features.types import Aggregate, FeatureFormat
from exporter.inference.types import ClipOptions, InferenceOptions, RayOptions
from models.options import BuildOptions


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
