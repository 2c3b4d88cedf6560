"""A model over videos on a Ray cluster: each worker process opens the model once and takes one video at a time.

The model file is read once, here, and reaches every machine through Ray. Videos are opened by the workers: a path must
be there on each of their machines, a URL is read from anywhere. What is computed for a video does not depend on which
worker takes it, so that the results are those of a run on one machine with the same number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from exporter.errors import C3DExportError, UsageError, VideoError
from exporter.inference.model import VideoModel
from exporter.inference.pipeline import run_videos
from exporter.inference.ray_pool import Lost, Task, WorkerNeeds, map_on_ray
from exporter.inference.types import ClipOutputs, InferenceOptions, RayOptions, VideoEnd
from exporter.storage import local_path
from exporter.video.sampling import Sampling
from exporter.video.sources import Source
from models.progress import Progress, no_progress

MAX_RESULT_BYTES = 1 << 30
"""Outputs of one video that a worker collects: Ray holds them in memory on both machines."""

Work = Callable[[VideoModel, Source, int], list[Any]]
"""From a model that is entered, a video and its position among all, to its results. It is pickled: a function of a
module, or a `functools.partial` of one."""


def worker_options(options: InferenceOptions, ray: RayOptions | None) -> InferenceOptions:
    """Return how each worker opens the model: with one thread, unless another number is asked for."""
    return options if ray is None else replace(options, threads=options.threads or 1)


def map_videos(
    model: VideoModel, sources: Sequence[Source], work: Work, options: RayOptions, progress: Progress = no_progress
) -> Generator[tuple[int, list[Any] | VideoError]]:
    """Yield (position, results of `work`) for each video, in order.

    Args:
        model: opened with `worker_options`; entered or not.
        sources: the videos.
        work: what is done with each.
        options: the cluster, and how many workers.
        progress: called when a video is done.

    Yields:
        an error in place of the results of a video on which every worker ended.

    Raises:
        UsageError: a source is a camera, or the cluster has no room for a worker.
        UnavailableError: Ray is not installed, or there is no cluster at the address.
        C3DExportError: what `work` raises.
    """
    if camera := next((source for source in sources if source.kind == "camera"), None):
        raise UsageError(f"{camera.name}: a camera is of this machine; --runner local reads it")
    runtime = model.runtime_options
    needs = WorkerNeeds(runtime.threads or 1, int(runtime.device != "cpu"))
    open_model = partial(_open_model, model.at(model.path), work)
    files = {path.name: path for path in model.files}
    items = [(number, _absolute(source)) for number, source in enumerate(sources)]
    with closing(map_on_ray(open_model, items, options, needs, files, progress)) as results:
        for number, result in enumerate(results):
            if isinstance(result, Lost):
                yield number, VideoError(f"{sources[number].name}: {result.reason}")
            else:
                yield number, result


def run_videos_anywhere(
    model: VideoModel,
    sources: Sequence[Source],
    sampling: Sampling,
    options: RayOptions | None,
    progress: Progress = no_progress,
) -> Generator[ClipOutputs | VideoEnd]:
    """Run a model over videos: in this process, which needs the model entered, or on the workers of a cluster.

    From a cluster the outputs of a video arrive together. Args and errors are those of `run_videos` and `map_videos`.
    """
    if options is None:
        yield from run_videos(model, sources, sampling, progress)
        return
    work = partial(_run_video, sampling=sampling)
    with closing(map_videos(model, sources, work, options, progress)) as results:
        for number, events in results:
            if isinstance(events, VideoError):
                yield VideoEnd(sources[number].name, number, 0, error=events)
            else:
                yield from events


def _run_video(model: VideoModel, source: Source, number: int, sampling: Sampling) -> list[ClipOutputs | VideoEnd]:
    """Return the outputs of a video's clips and its end; of one with too many, nothing but an end with an error."""
    found: list[ClipOutputs | VideoEnd] = []
    size = 0
    with closing(run_videos(model, [source], sampling)) as events:
        for event in events:
            found.append(replace(event, number=number))
            size += sum(values.nbytes for values in event.outputs.values()) if isinstance(event, ClipOutputs) else 0
            if size > MAX_RESULT_BYTES:
                error = VideoError(
                    f"{source.name}: its outputs take more than {MAX_RESULT_BYTES >> 20} MiB, which a worker returns "
                    "at once; --runner local writes them one by one"
                )
                return [VideoEnd(source.name, number, 0, error=error)]
    return found


def _open_model(model: VideoModel, work: Work, folder: Path) -> Task:
    """Open a model, which is not entered, in a worker; return a function from a video to its results."""
    try:
        opened = model.at(folder / model.path.name).__enter__()
    except C3DExportError as error:  # the user knows the file by its own path
        error.args = tuple(str(text).replace(str(folder), str(model.path.parent)) for text in error.args)
        raise
    return partial(_run, opened, work)


def _run(model: VideoModel, work: Work, item: tuple[int, Source]) -> list[Any]:
    number, source = item
    return work(model, source, number)


def _absolute(source: Source) -> Source:
    """Return a source whose paths are absolute: a worker has another working directory."""
    return replace(source, url=_resolve(source.url), images=tuple(map(_resolve, source.images)))


def _resolve(location: str) -> str:
    path = local_path(location)
    return location if path is None else str(path.absolute())
