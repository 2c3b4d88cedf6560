"""`features()` and `write_features()`: from videos to a network's features, in memory or in files."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path

import numpy as np

from exporter import __version__
from exporter.errors import C3DExportError, UsageError
from exporter.inference.features.aggregate import aggregate
from exporter.inference.features.array_files import check_shapes
from exporter.inference.features.folder import FeatureFolder, Job, open_folder
from exporter.inference.features.parquet import require_pyarrow
from exporter.inference.features.record import VERSION, FeatureRecord, record_profile
from exporter.inference.features.types import (
    AGGREGATES,
    FEATURE_FORMATS,
    Aggregate,
    FeatureFiles,
    FeatureFormat,
    FeatureRequest,
    FeaturesResult,
    VideoFeatureFiles,
    VideoFeatures,
)
from exporter.inference.features.writing import VideoRows, split_videos, write_videos
from exporter.inference.model import VideoModel
from exporter.inference.predictions import ModelRecord, SamplingRecord, VideoFailure
from exporter.inference.ray_runner import run_videos_anywhere
from exporter.inference.types import RayOptions
from exporter.inference.video_run import VideoRun
from exporter.output_targets import check_output_folder, new_folder_notes
from exporter.storage import display
from exporter.temporary_folders import temporary_folder
from exporter.video.sampling import Sampling
from exporter.video.sources import Source
from exporter.workflows.video_inputs import note_overlap, open_videos, record_sampling
from models.preprocessing.recipe import Preprocessing
from models.progress import Progress, no_progress


class FeatureRun(VideoRun[VideoFeatureFiles]):
    """Features that are being written; made by `open_features`. Videos of earlier runs are yielded first.

    Attributes:
        head: what is known before the first video: the result without videos and files.
        total: how many videos there are.
        kept: how many of them an earlier run has done.
    """

    def __init__(
        self,
        head: FeaturesResult,
        folder: FeatureFolder,
        jobs: Sequence[Job],
        ready: Iterable[VideoFeatureFiles | VideoFailure],
        started: float,
    ) -> None:
        super().__init__(ready, started)
        self.head = head
        self.total, self.kept = len(jobs), sum(job.done is not None for job in jobs)
        self._folder, self._jobs = folder, jobs

    def result(self) -> FeaturesResult:
        """Bring the folder into its final form and return everything that was yielded until now.

        Raises:
            OutputError: the folder cannot be written to, or is full.
        """
        videos, failures = self.videos, self.failures
        done = {video.name for video in videos if video.rows}
        without = {failure.source for failure in failures} | {video.source for video in videos if not video.rows}
        files = self._folder.finish({job.name for job in self._jobs if job.source.name in without} - done)
        return replace(self.head, videos=videos, failures=failures, files=files, seconds=self.seconds)


def features(request: FeatureRequest, progress: Progress = no_progress) -> Generator[VideoFeatures | VideoFailure]:
    """Yield the features of each video, in memory; decoding stops when the caller stops.

    Args:
        request: everything that decides them.
        progress: called at each call of the model.

    Raises:
        UsageError: options that do not go together, a layer that the model does not return, or a model whose
            preprocessing is not known.
        BadInputError: the model is bad, or every name is of no video. A video that cannot be read is yielded as a
            `VideoFailure`.
        CheckFailedError: the export of a checkpoint does not return what its network returns.
        UnavailableError: the engine, the device or a library is not there.
    """
    sources, failures, model, sampling = _prepare(request, progress)
    yield from failures
    with (
        model,
        temporary_folder() as scratch,
        closing(run_videos_anywhere(model, sources, sampling, request.ray, progress)) as items,
    ):
        shapes = _shapes(model)
        for rows in split_videos(items, request.layers):
            yield _collect(rows, sources[rows.number].name, shapes, request.aggregate, scratch)


def write_features(request: FeatureRequest, files: FeatureFiles, progress: Progress = no_progress) -> FeaturesResult:
    """Write the features of videos to files, and continue what an earlier run has begun.

    Args:
        request: everything that decides the features.
        files: where they are written, and how.
        progress: called at each call of the model.

    Raises:
        OutputError: the folder cannot be written to, is full, or another run is writing to it.
        UsageError: the folder has features that were made in another way; and as `features`.
        BadInputError: as `features`; a video that cannot be read is in the result's `failures`.
        CheckFailedError: as `features`.
        UnavailableError: as `features`.
    """
    with open_features(request, files, progress) as run:
        for _ in run:
            pass
        return run.result()


@contextmanager
def open_features(
    request: FeatureRequest, files: FeatureFiles, progress: Progress = no_progress
) -> Generator[FeatureRun]:
    """Load the model, open the folder, and yield the run, which writes when it is iterated.

    Raises as `write_features`.
    """
    started = time.monotonic()
    if files.format not in FEATURE_FORMATS:
        raise UsageError(f"no format {files.format!r}; there are {', '.join(FEATURE_FORMATS)}")
    if files.format == "parquet":
        require_pyarrow()
    check_output_folder(files.folder, "--output")
    folder_notes = new_folder_notes(files.folder)
    sources, failures, model, sampling = _prepare(request, progress)
    with model:
        described, taken = model.record(), record_sampling(sampling)
        shapes = _shapes(model)
        if files.format == "c3d":
            check_shapes(shapes)
        record = make_record(request, files.format, described, taken, model.preprocessing, shapes)
        with open_folder(files.folder, record, overwrite=files.overwrite) as folder:
            jobs = tuple(folder.plan(sources, overwrite=files.overwrite))
            with closing(write_jobs(model, jobs, folder, sampling, progress, request.ray)) as written:
                ready = chain(failures, _done_before(jobs), written)
                about_model = (note for note in model.notes if "--labels" not in note)  # features have no class names
                notes = (*about_model, *note_overlap(sampling, request.clips), *folder_notes)
                made = folder.record
                head = FeaturesResult(
                    described, taken, made.layers, made.aggregate, made.format, display(folder.path), notes=notes
                )
                yield FeatureRun(head, folder, jobs, ready, started)


def write_jobs(
    model: VideoModel,
    jobs: Sequence[Job],
    folder: FeatureFolder,
    sampling: Sampling,
    progress: Progress = no_progress,
    ray: RayOptions | None = None,
) -> Generator[VideoFeatureFiles | VideoFailure]:
    """Write the videos that are not done, and yield what became of each.

    Args:
        model: entered.
        jobs: the videos.
        folder: where to write them.
        sampling: how clips are taken from each.
        progress: called at each call of the model.
        ray: compute on a Ray cluster.

    Raises:
        OutputError: the folder cannot be written to, or is full.
    """
    todo = [job for job in jobs if job.done is None]
    if not todo:
        return
    with closing(run_videos_anywhere(model, [job.source for job in todo], sampling, ray, progress)) as items:
        yield from write_videos(items, todo, folder)


def make_record(
    request: FeatureRequest,
    storage: FeatureFormat,
    model: ModelRecord,
    sampling: SamplingRecord,
    profile: Preprocessing,
    shapes: dict[str, tuple[int, ...]],
) -> FeatureRecord:
    """Return how the features of a folder are made."""
    return FeatureRecord(
        version=VERSION,
        producer=f"c3d-export {__version__}",
        model=Path(model.path).name,
        model_sha256=model.sha256,
        engine=model.engine,
        layers=shapes,
        profile=record_profile(profile),
        sampling=asdict(sampling),
        aggregate=request.aggregate,
        format=storage,
    )


def _prepare(
    request: FeatureRequest, progress: Progress
) -> tuple[list[Source], list[VideoFailure], VideoModel, Sampling]:
    """Return the videos, the names that are of none, the model, which is not loaded yet, and how clips are taken."""
    if not request.videos:
        raise UsageError("name a video to take features of")
    if not request.layers or len(set(request.layers)) < len(request.layers):
        raise UsageError("name each layer once")
    if request.aggregate not in AGGREGATES:
        raise UsageError(f"no aggregate {request.aggregate!r}; there are {', '.join(AGGREGATES)}")
    return open_videos(request, replace(request.inference, outputs=request.layers), progress)


def _shapes(model: VideoModel) -> dict[str, tuple[int, ...]]:
    """Return {layer: shape of its values for one clip}; a model that does not state them all is run on a black clip."""
    shapes = {output.name: output.shape for output in model.outputs}
    if all(all(shape) for shape in shapes.values()):
        return shapes
    black = model.to_input(np.zeros((*model.size, 3), np.uint8))
    return {name: values.shape[1:] for name, values in model.run([black]).items()}


def _collect(
    rows: VideoRows, source: str, shapes: dict[str, tuple[int, ...]], how: Aggregate, scratch: Path
) -> VideoFeatures | VideoFailure:
    """Return the features of one video, or why it has none."""
    try:
        found = list(aggregate(rows, how, scratch, scratch))
    except C3DExportError as error:
        if error is not rows.error:
            raise
        return VideoFailure(source, str(error), error.exit_code)
    arrays = {
        layer: np.array([row.features[layer] for row in found], np.float32).reshape(len(found), *shape)
        for layer, shape in shapes.items()
    }
    views = tuple(
        replace(row, features={layer: array[number] for layer, array in arrays.items()})
        for number, row in enumerate(found)
    )
    return VideoFeatures(source, arrays, views, rows.end.notes)


def _done_before(jobs: Sequence[Job]) -> Iterator[VideoFeatureFiles]:
    """Yield what earlier runs have written."""
    for job in jobs:
        if (done := job.done) is not None:
            yield VideoFeatureFiles(
                job.source.name, job.name, done.rows, done.clips, tuple(done.files), kept=True, notes=done.notes
            )
