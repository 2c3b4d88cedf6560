"""What is asked of a prediction. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from exporter.inference.predictions import ScoreType
from exporter.inference.types import ClipOptions, InferenceOptions, RayOptions
from models.options import BuildOptions

MAX_PREVIEWED = 50
"""Videos of a run whose frames are kept, so that the memory does not depend on how many videos there are."""


@dataclass(frozen=True)
class PredictRequest:
    """Everything that decides a prediction.

    Attributes:
        model: an artifact, another tool's ONNX file, or a checkpoint (a file or an address), which is exported first.
        videos: files, folders, lists of paths (`.txt`), or addresses.
        inference: engine, device, batch, preprocessing, class names.
        clips: how clips are taken from each video.
        build: how a checkpoint is read.
        top: how many classes are returned, at least 1.
        per_clip: whether each clip's classes are returned too.
        average: what is averaged over a video's clips; None takes the profile's.
        previews: how many frames of each of the first `MAX_PREVIEWED` videos are returned, at most, with the video's
            classes over time.
        ray: run on a Ray cluster; None runs in this process.
    """

    model: str | Path
    videos: tuple[str | Path, ...]
    inference: InferenceOptions = field(default_factory=InferenceOptions)
    clips: ClipOptions = field(default_factory=ClipOptions)
    build: BuildOptions = field(default_factory=BuildOptions)
    top: int = 5
    per_clip: bool = False
    average: ScoreType | None = None
    previews: int = 0
    ray: RayOptions | None = None
