"""What `predict` and `features` begin with: the videos, the model, and how clips are taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from exporter.errors import C3DExportError
from exporter.inference.features.types import FeatureRequest
from exporter.inference.model import VideoModel
from exporter.inference.predictions import PredictRequest, SamplingRecord, VideoFailure
from exporter.inference.ray_runner import worker_options
from exporter.inference.types import ClipOptions, InferenceOptions
from exporter.video.sampling import Sampling, Seconds
from exporter.video.sources import Source, expand_sources
from exporter.workflows.video_model import open_model
from models.preprocessing.recipe import Preprocessing
from models.progress import Progress


def open_videos(
    request: PredictRequest | FeatureRequest, inference: InferenceOptions, progress: Progress
) -> tuple[list[Source], list[VideoFailure], VideoModel, Sampling]:
    """Return the videos, the names that are of none, the model, which is not loaded yet, and how clips are taken.

    Args:
        request: names the videos and the model.
        inference: how the model is run.
        progress: called at each step.

    Raises:
        UsageError: options that do not go together, or a model whose preprocessing is not known.
        BadInputError: the model is bad, or no name is of a video.
        CheckFailedError: the export of a checkpoint does not return what its network returns.
        UnavailableError: the engine, the device or a library is not there.
    """
    notes: list[str] = []
    sources, failures = find_sources(request.videos, notes.append)
    progress("opening the model")
    model = open_model(request.model, worker_options(inference, request.ray), request.build, progress)
    model.notes += tuple(notes)
    sampling = plan_sampling(model.size[0], model.preprocessing, request.clips)
    progress("loading the model")
    return sources, failures, model, sampling


def find_sources(names: Sequence[str | Path], note: Progress) -> tuple[list[Source], list[VideoFailure]]:
    """Return the videos, and a failure for each name, or line of a list, that is of none; `note` as `expand_sources`.

    Raises:
        C3DExportError: no name is of a video: the first one's error; or there are too many videos.
    """
    failures: list[VideoFailure] = []
    errors: list[C3DExportError] = []

    def refuse(name: str, error: C3DExportError) -> None:
        failures.append(VideoFailure(name, str(error), error.exit_code))
        errors.append(error)

    sources = expand_sources(names, refuse, note)
    if not sources and errors:
        raise errors[0]
    return sources, failures


def plan_sampling(frames: int, profile: Preprocessing, options: ClipOptions) -> Sampling:
    """Return how clips are taken.

    Args:
        frames: frames of a clip.
        profile: decides what the options leave open.
        options: as the user gave them.

    Raises:
        UsageError: options that do not go together.
    """
    clips, step = options.clips, options.step
    if clips is None and step is None:
        clips = None if isinstance(options.window, Seconds) else profile.clips
        step = profile.clip_step if clips is None else None
    return Sampling(frames, profile.frame_step, options.window, step, clips, options.short)


def note_overlap(sampling: Sampling, options: ClipOptions) -> tuple[str, ...]:
    """Return a note where clips overlap although the user asked for no step: a video then takes many times as long."""
    step, span = sampling.step, sampling.span
    if options.step is not None or not isinstance(step, int) or span is None or step >= span:
        return ()
    return (f"clips overlap: the profile's step is {step}; --step {span} is about {span / step:.2g} times as fast",)


def record_sampling(sampling: Sampling) -> SamplingRecord:
    """Return the sampling as results record it."""
    stride = None if sampling.clips is not None else sampling.stride
    return SamplingRecord(
        frames=sampling.frames,
        window=sampling.span if sampling.span is not None else str(sampling.window),
        step=stride if stride is None or isinstance(stride, int) else str(stride),
        clips=sampling.clips,
        short=sampling.short,
    )
