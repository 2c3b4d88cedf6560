"""From a model's outputs, clip by clip, to the files of each video."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exporter.errors import C3DExportError
from exporter.inference.features.aggregate import aggregate
from exporter.inference.features.c3d_blob import BlobWriter
from exporter.inference.features.folder import FeatureFolder, Job, to_utf8
from exporter.inference.features.npy import NpyWriter
from exporter.inference.features.parquet import ParquetPart
from exporter.inference.features.record import FeatureRecord, VideoRecord, to_json
from exporter.inference.features.types import FeatureRow, FeatureWriter
from exporter.inference.types import ClipOutputs, VideoEnd
from exporter.storage import translate_os_errors


@dataclass(frozen=True)
class WrittenVideo:
    """A video of which the features were written.

    Attributes:
        source: the video, as the user named it.
        record: what the folder keeps of it; None for a video that has no clip, of which nothing is written.
        error: why there are no features; None if there are.
        notes: what the user should know about the video.
    """

    source: str
    record: VideoRecord | None
    error: C3DExportError | None
    notes: tuple[str, ...]


def write_videos(
    items: Iterable[ClipOutputs | VideoEnd], jobs: Sequence[Job], folder: FeatureFolder, blobs: Mapping[str, str]
) -> Iterator[WrittenVideo]:
    """Write the features of each video as its clips come, and yield what became of it.

    Args:
        items: for each video its clips in order, then its end; `number` is the position of its job.
        jobs: the videos.
        folder: where to write them.
        blobs: {layer: its name in file names of Facebook's C3D}.

    Raises:
        OutputError: the folder cannot be written to, or is full.
    """
    iterator = iter(items)
    for number, item in enumerate(iterator):
        scratch = folder.stage / f"video-{number}"
        with translate_os_errors(folder.disk):
            scratch.mkdir()
        yield _write_video(
            _VideoRows(item, iterator, tuple(folder.record.layers)), jobs[item.number], folder, blobs, scratch
        )
        shutil.rmtree(scratch, ignore_errors=True)


class _VideoRows:
    """The rows of one video, taken from an iterator that goes on with the next video's."""

    def __init__(
        self, first: ClipOutputs | VideoEnd, others: Iterator[ClipOutputs | VideoEnd], layers: tuple[str, ...]
    ) -> None:
        self._first, self._others, self._layers = first, others, layers
        self._end: VideoEnd | None = None

    @property
    def end(self) -> VideoEnd:
        """The video's end, once all rows were taken."""
        if self._end is None:
            raise RuntimeError("a video's rows were not taken to their end")
        return self._end

    @property
    def error(self) -> C3DExportError | None:
        """Why the video ended before its end; None if it did not, or goes on."""
        return self._end and self._end.error

    def __iter__(self) -> Iterator[FeatureRow]:
        """Yield the rows.

        Raises:
            C3DExportError: the video ends with an error.
        """
        item = self._first
        while isinstance(item, ClipOutputs):
            yield _make_row(item, self._layers)
            item = next(self._others)
        self._end = item
        if item.error is not None:
            raise item.error


def _make_row(clip: ClipOutputs, layers: tuple[str, ...]) -> FeatureRow:
    features = {layer: np.asarray(clip.outputs[layer], np.float32) for layer in layers}
    return FeatureRow(clip.index, clip.first, clip.last, clip.start, clip.end, clip.repeated, features)


def _write_video(
    rows: _VideoRows, job: Job, folder: FeatureFolder, blobs: Mapping[str, str], scratch: Path
) -> WrittenVideo:
    """Write one video and publish it; one that ends with an error leaves nothing, not even an earlier version."""
    written = 0
    with ExitStack() as stack:
        writer: FeatureWriter | None = None
        try:
            for row in aggregate(rows, folder.record.aggregate, scratch, folder.disk):
                with translate_os_errors(folder.disk):
                    if writer is None:
                        writer = _open_writer(folder.record, job, scratch, blobs)
                        stack.callback(_close, writer)
                    writer.append(row)
                written += 1
        except C3DExportError as error:
            if error is not rows.error:
                raise
            folder.store.discard(job.name)
            return WrittenVideo(job.source, None, error, rows.end.notes)
        end = rows.end
        if writer is None:
            folder.store.discard(job.name)
            return WrittenVideo(job.source, None, None, end.notes)
        record = VideoRecord(job.video, job.name, job.bytes, job.modified_ns, written, end.clips, notes=end.notes)
        with translate_os_errors(folder.disk):
            staged = writer.finish(record)
        return WrittenVideo(job.source, folder.store.publish(record, staged), None, end.notes)


def _open_writer(record: FeatureRecord, job: Job, stage: Path, blobs: Mapping[str, str]) -> FeatureWriter:
    """Return the writer of a format for one video."""
    if record.format == "parquet":
        return ParquetPart(stage, job.name, to_utf8(job.source), record.layers, to_json(record))
    if record.format == "c3d":
        named = {layer: blobs.get(layer, layer) for layer in record.layers}
        numbers_from = (1 if job.images else 0) if record.aggregate == "clips" else None
        return BlobWriter(stage, job.name, named, numbers_from)
    return NpyWriter(stage, job.name, record.layers)


def _close(writer: FeatureWriter) -> None:
    with suppress(OSError):  # of files that are not finished, and on a disk that may be full
        writer.close()
