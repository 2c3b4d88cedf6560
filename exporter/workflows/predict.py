"""`predict()`: from videos to ranked classes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain

from exporter.errors import UsageError, VideoError
from exporter.inference.model import VideoModel
from exporter.inference.pipeline import run_videos
from exporter.inference.predictions import (
    MAX_PREVIEWED,
    ClipPrediction,
    PredictRequest,
    PredictResult,
    VideoFailure,
    VideoPrediction,
)
from exporter.inference.ranking import ClassRanking, VideoScores, choose_ranked_output
from exporter.inference.ray_runner import map_videos
from exporter.inference.types import ClipOutputs, RayOptions
from exporter.inference.video_run import VideoRun
from exporter.video.sampling import Sampling
from exporter.video.sources import Source
from exporter.workflows.video_inputs import note_overlap, open_videos, record_sampling
from models.progress import Progress, no_progress

ClipListener = Callable[[str, ClipPrediction], None]
"""Called with a video, as the user named it, and one of its clips."""

__all__ = ["PredictRun", "iter_predictions", "open_predict", "predict"]


class PredictRun(VideoRun[VideoPrediction]):
    """A prediction that is under way.

    Attributes:
        head: what is known before the first video: the result without videos.
    """

    def __init__(self, head: PredictResult, ready: Iterable[VideoPrediction | VideoFailure], started: float) -> None:
        super().__init__(ready, started)
        self.head = head

    def result(self) -> PredictResult:
        """Return everything that was yielded until now."""
        return replace(self.head, videos=self.videos, failures=self.failures, seconds=self.seconds)


def predict(request: PredictRequest, progress: Progress = no_progress) -> PredictResult:
    """Return the highest classes of videos, and of their clips where the request asks for them.

    Args:
        request: everything that decides the result.
        progress: called at each call of the model.

    Raises:
        UsageError: options that do not go together, or a model whose preprocessing is not known.
        BadInputError: the model is bad, or every name is of no video. A video that cannot be read is in the result's
            `failures`.
        CheckFailedError: the export of a checkpoint does not return what its network returns.
        UnavailableError: the engine, the device or a library is not there.
    """
    with open_predict(request, progress) as run:
        for _ in run:
            pass
        return run.result()


def iter_predictions(
    request: PredictRequest, progress: Progress = no_progress
) -> Generator[VideoPrediction | VideoFailure]:
    """Yield each video's result when it is ready; decoding stops when the caller stops. Raises as `predict`."""
    with open_predict(request, progress) as run:
        yield from run


@contextmanager
def open_predict(
    request: PredictRequest, progress: Progress = no_progress, on_clip: ClipListener | None = None
) -> Generator[PredictRun]:
    """Load the model and yield the run, whose results come when it is iterated. Raises as `predict`.

    Args:
        request: everything that decides the result.
        progress: called at each call of the model.
        on_clip: called with each clip's classes when they are ready, if the request asks for them.
    """
    started = time.monotonic()
    _check_request(request)
    sources, failures, model, sampling = open_videos(request, request.inference, progress)
    ranking = choose_ranking(model, request)
    if request.ray is None:
        results = predict_videos(model, sources, sampling, ranking, progress, on_clip)
    else:
        results = predict_on_ray(model, sources, sampling, ranking, request.ray, progress, on_clip)
    with model, closing(results):
        head = PredictResult(
            model=model.record(),
            sampling=record_sampling(sampling),
            output=ranking.output,
            values=ranking.values,
            softmax=ranking.softmax,
            average=ranking.average,
            notes=(*model.notes, *note_overlap(sampling, request.clips)),
        )
        yield PredictRun(head, chain(failures, results), started)


def predict_videos(
    model: VideoModel,
    sources: Sequence[Source],
    sampling: Sampling,
    ranking: ClassRanking,
    progress: Progress = no_progress,
    on_clip: ClipListener | None = None,
) -> Generator[VideoPrediction | VideoFailure]:
    """Yield the result of each video, in order.

    Args:
        model: entered.
        sources: the videos.
        sampling: how clips are taken from each.
        ranking: how classes are ranked.
        progress: called at each call of the model.
        on_clip: called with each clip's classes, where `ranking` asks for them.
    """
    scores: dict[int, VideoScores] = {}
    plain = replace(ranking, previews=0)
    with closing(run_videos(model, sources, sampling, progress, previews=ranking.previews > 0)) as events:
        for event in events:
            video = scores.setdefault(event.number, VideoScores(ranking if event.number < MAX_PREVIEWED else plain))
            if isinstance(event, ClipOutputs):
                clip = video.add(event)
                if clip is not None and on_clip is not None:
                    on_clip(event.source, clip)
            else:
                yield scores.pop(event.number).finish(event)


def predict_on_ray(
    model: VideoModel,
    sources: Sequence[Source],
    sampling: Sampling,
    ranking: ClassRanking,
    options: RayOptions,
    progress: Progress = no_progress,
    on_clip: ClipListener | None = None,
) -> Generator[VideoPrediction | VideoFailure]:
    """Yield what `predict_videos` does, computed by the workers of a Ray cluster; a video's clips arrive together."""
    work = partial(_predict_video, sampling=sampling, ranking=ranking)
    with closing(map_videos(model, sources, work, options, progress)) as videos:
        for number, found in videos:
            lost = isinstance(found, VideoError)
            for result in [VideoFailure(sources[number].name, str(found), found.exit_code)] if lost else found:
                if on_clip is not None and isinstance(result, VideoPrediction):
                    for clip in result.per_clip:
                        on_clip(result.source, clip)
                yield result


def _predict_video(
    model: VideoModel, source: Source, number: int, sampling: Sampling, ranking: ClassRanking
) -> list[VideoPrediction | VideoFailure]:
    if number >= MAX_PREVIEWED:
        ranking = replace(ranking, previews=0)
    return list(predict_videos(model, [source], sampling, ranking))


def choose_ranking(model: VideoModel, request: PredictRequest) -> ClassRanking:
    """Return how the classes of a model are ranked.

    Raises:
        UsageError: it returns no class scores, or probabilities only where the request asks for the average of scores.
    """
    profile = model.preprocessing.average
    average = request.average or ("scores" if profile == "scores" else "probabilities")
    output = choose_ranked_output(model.outputs, model.path.name, average)
    if output.kind == "probabilities":
        if request.average == "scores":
            raise UsageError(
                f"--average scores: {model.path.name} returns no scores before softmax, only probabilities "
                f"({output.name})"
            )
        average = "probabilities"
    return ClassRanking(
        output.name, output.kind, average, model.class_names, request.top, request.per_clip, request.previews
    )


def _check_request(request: PredictRequest) -> None:
    """Refuse options that cannot be honoured, before any work.

    Raises:
        UsageError: the message names the option and its value.
    """
    if not request.videos:
        raise UsageError("name a video to predict")
    if request.top < 1:
        raise UsageError(f"--top must be at least 1 (got {request.top})")
