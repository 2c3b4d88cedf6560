"""What `predict` and `features` begin with: the videos, the model, and how clips are taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from exporter.errors import C3DExportError
from exporter.inference.clips import plan_sampling
from exporter.inference.features.types import FeatureRequest
from exporter.inference.model import VideoModel
from exporter.inference.predict_request import PredictRequest
from exporter.inference.predictions import VideoFailure
from exporter.inference.ray_runner import worker_options
from exporter.inference.types import InferenceOptions
from exporter.video.sampling import Sampling
from exporter.video.sources import Source, expand_sources
from exporter.workflows.video_model import open_model
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
    sources, failures = find_sources(request.videos)
    progress("opening the model")
    model = open_model(request.model, worker_options(inference, request.ray), request.build, progress)
    sampling = plan_sampling(model.size[0], model.preprocessing, request.clips)
    progress("loading the model")
    return sources, failures, model, sampling


def find_sources(names: Sequence[str | Path]) -> tuple[list[Source], list[VideoFailure]]:
    """Return the videos, and a failure for each name, or line of a list, that is of none.

    Raises:
        C3DExportError: no name is of a video: the first one's error; or there are too many videos.
    """
    failures: list[VideoFailure] = []
    errors: list[C3DExportError] = []

    def refuse(name: str, error: C3DExportError) -> None:
        failures.append(VideoFailure(name, str(error), error.exit_code))
        errors.append(error)

    sources = expand_sources(names, refuse)
    if not sources and errors:
        raise errors[0]
    return sources, failures
