"""What is asked of `predict`, and what it found: frozen dataclasses. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from exporter.inference.types import ClipOptions, InferenceOptions, RayOptions
from exporter.video.types import ClipSpan
from models.options import BuildOptions

ScoreType = Literal["probabilities", "scores"]
"""What a class's number is: a probability, or the network's output as it is."""

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


@dataclass(frozen=True)
class ClassScore:
    """One class of a ranking.

    Attributes:
        index: its position in the network's output, from 0.
        name: its name, or `class 17` where the names are not known.
        value: its probability or score.
    """

    index: int
    name: str
    value: float


@dataclass(frozen=True)
class ClipPrediction(ClipSpan):
    """The highest classes of one clip, and which part of its video that is.

    Attributes:
        top: its highest classes, the highest first.
    """

    top: tuple[ClassScore, ...]


@dataclass(frozen=True)
class PreviewFrame:
    """A frame for pages: as the network sees it, or as decoded where the model does the preprocessing itself.

    Attributes:
        clip: position of its clip in the video.
        seconds: the time of the clip's middle.
        width: columns.
        height: rows.
        pixels: height * width * 3 bytes, RGB.
    """

    clip: int
    seconds: float
    width: int
    height: int
    pixels: bytes


@dataclass(frozen=True)
class TimelinePoint:
    """The average over clips that follow one another, for a chart over time.

    Attributes:
        start: time of the first clip's first frame, in seconds.
        end: time at which the last clip ends.
        clips: how many clips were averaged.
        values: the values of the classes in the video's `top`, in that order.
    """

    start: float
    end: float
    clips: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class VideoPrediction:
    """The highest classes of one video: the average over its clips.

    Attributes:
        source: the video, as the user named it.
        clips: how many clips were averaged.
        top: the highest classes, the highest first.
        per_clip: each clip's, in order of time; empty unless asked for.
        width: columns of a frame as shown, after rotation.
        height: rows of a frame as shown.
        fps: frames in a second, the average; None where the video does not state it.
        frames: how many frames were decoded.
        duration: seconds, as the video states them; None where it does not.
        notes: what the user should know about the video: corrupt packets that were skipped, ….
        previews: frames of the video, evenly spaced; empty unless asked for.
        timeline: the video's `top` over time, in a bounded number of points; empty unless previews were asked for.
    """

    source: str
    clips: int
    top: tuple[ClassScore, ...]
    per_clip: tuple[ClipPrediction, ...] = ()
    width: int = 0
    height: int = 0
    fps: float | None = None
    frames: int = 0
    duration: float | None = None
    notes: tuple[str, ...] = ()
    previews: tuple[PreviewFrame, ...] = field(default=(), repr=False)
    timeline: tuple[TimelinePoint, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class VideoFailure:
    """A video without a result.

    Attributes:
        source: the video, as the user named it.
        message: why, in one line.
        exit_code: that of the error, as `exporter.errors` has it.
    """

    source: str
    message: str
    exit_code: int


def choose_exit_code(failures: Iterable[VideoFailure]) -> int:
    """Return the exit code of a run: 1 where the network's numbers were not finite, else that of a failed video."""
    codes = {failure.exit_code for failure in failures}
    return 1 if 1 in codes else max(codes, default=0)


@dataclass(frozen=True)
class ModelRecord:
    """The model that ran, as results record it.

    Attributes:
        path: the model file.
        sha256: SHA-256 of the model file.
        engine: the engine, its version and device.
        network: the network in a few words; empty where the file does not state it.
        clip: (time, height, width) of the network's clip.
        preprocessing: name of the profile.
        preprocessing_inside: whether the model file does the preprocessing itself.
        recipe: the profile in one line.
        mean: SHA-256 of the file with a mean for each pixel; None where the profile's mean by channel was used.
        checkpoint: what the model file was exported from, as the user named it; None where that was a model file.
    """

    path: str
    sha256: str
    engine: str
    network: str
    clip: tuple[int, int, int]
    preprocessing: str
    preprocessing_inside: bool
    recipe: str
    mean: str | None = None
    checkpoint: str | None = None

    def describe(self) -> str:
        """Return the file that the user named, its engine and its network, in one line."""
        file = self.path if self.checkpoint is None else f"{self.checkpoint}, exported,"
        return f"{file} in {self.engine}{f', {self.network}' if self.network else ''}"


@dataclass(frozen=True)
class SamplingRecord:
    """How clips were taken from each video, as results record it.

    Attributes:
        frames: frames of a clip.
        window: frames of the video from a clip's first frame to its last, or a time such as `0.64s`.
        step: frames from the start of one clip to that of the next, or a time; None where `clips` are spread evenly.
        clips: number of clips spread evenly over a video; None where they follow one another by `step`.
        short: what is done with a video that is shorter than a clip: `repeat`, `pad` or `skip`.
    """

    frames: int
    window: int | str
    step: int | str | None
    clips: int | None
    short: str


@dataclass(frozen=True)
class PredictResult:
    """What `predict` found.

    Attributes:
        model: the model that ran.
        sampling: how clips were taken from each video.
        output: the output that the classes were ranked by.
        values: what the numbers are: `probabilities`, or `scores` (the output as it is).
        softmax: whether the probabilities are the softmax of the output; otherwise they are the output itself.
        average: what was averaged over a video's clips.
        videos: the results, in the order in which they were ready.
        failures: the videos without one.
        notes: what the user should know.
        seconds: how long it took, the loading of the model included.
    """

    model: ModelRecord
    sampling: SamplingRecord
    output: str
    values: ScoreType
    softmax: bool
    average: ScoreType
    videos: tuple[VideoPrediction, ...] = ()
    failures: tuple[VideoFailure, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""
        return choose_exit_code(self.failures)
