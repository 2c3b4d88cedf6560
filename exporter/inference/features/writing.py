"""From a model's outputs, clip by clip, to the files of each video."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from exporter.errors import C3DExportError
from exporter.inference.features.aggregate import aggregate
from exporter.inference.features.array_files import BlobWriter, NpyWriter
from exporter.inference.features.folder import FeatureFolder, Job
from exporter.inference.features.names import plain_name
from exporter.inference.features.parquet import ParquetPart
from exporter.inference.features.record import FeatureRecord, VideoRecord, to_json
from exporter.inference.features.types import FeatureRow, VideoFeatureFiles
from exporter.inference.predictions import VideoFailure
from exporter.inference.types import ClipOutputs, VideoEnd
from exporter.storage import translate_os_errors
from models.config import CAFFE_BLOBS
from models.paths import to_utf8

FeatureWriter = NpyWriter | BlobWriter | ParquetPart
"""Writes the rows of one video to files below a staging folder, with memory for a bounded number of rows. `finish`
returns the files in the order in which they are to be published; after `close` alone they are of no use. All of them
raise OSError where the disk is full."""


class VideoRows:
    """The rows of one video, for one iteration.

    Attributes:
        number: its position among the videos.
    """

    def __init__(
        self, first: ClipOutputs | VideoEnd, others: Iterator[ClipOutputs | VideoEnd], layers: Sequence[str]
    ) -> None:
        self.number = first.number
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
            C3DExportError: `error`.
        """
        item = self._first
        while isinstance(item, ClipOutputs):
            values = {layer: np.asarray(item.outputs[layer], np.float32) for layer in self._layers}
            yield FeatureRow(*item.span(), values)
            item = next(self._others)
        self._end = item
        if item.error is not None:
            raise item.error


def split_videos(items: Iterable[ClipOutputs | VideoEnd], layers: Sequence[str]) -> Iterator[VideoRows]:
    """Yield each video; its rows must be taken to their end before the next one is.

    Args:
        items: for each video its clips in order, then its end.
        layers: the outputs to take.
    """
    iterator = iter(items)
    for first in iterator:
        yield VideoRows(first, iterator, layers)


def write_videos(
    items: Iterable[ClipOutputs | VideoEnd], jobs: Sequence[Job], folder: FeatureFolder
) -> Iterator[VideoFeatureFiles | VideoFailure]:
    """Write the features of each video as its clips come, and yield what became of it.

    Args:
        items: for each video its clips in order, then its end; `number` is the position of its job.
        jobs: the videos.
        folder: where to write them.

    Raises:
        OutputError: the folder cannot be written to, or is full.
    """
    for rows in split_videos(items, tuple(folder.record.layers)):
        scratch = folder.stage / f"video-{rows.number}"
        with translate_os_errors(folder.disk):
            scratch.mkdir()
        yield _write_video(rows, jobs[rows.number], folder, scratch)
        shutil.rmtree(scratch, ignore_errors=True)


def _write_video(rows: VideoRows, job: Job, folder: FeatureFolder, scratch: Path) -> VideoFeatureFiles | VideoFailure:
    """Write one video and publish it; one that ends with an error leaves nothing, not even an earlier version."""
    written = 0
    with ExitStack() as stack:
        writer: FeatureWriter | None = None
        try:
            for row in aggregate(rows, folder.record.aggregate, scratch, folder.disk):
                with translate_os_errors(folder.disk):
                    if writer is None:
                        writer = _open_writer(folder.record, job, scratch)
                        stack.callback(_close, writer)
                    writer.append(row)
                written += 1
        except C3DExportError as error:
            if error is not rows.error:
                raise
            folder.store.discard(job.name)
            return VideoFailure(job.source.name, str(error), error.exit_code)
        end = rows.end
        if writer is None:
            folder.store.discard(job.name)
            return VideoFeatureFiles(job.source.name, job.name, 0, 0, (), kept=False, notes=end.notes)
        record = VideoRecord(job.video, job.name, job.bytes, job.modified_ns, written, end.clips, notes=end.notes)
        with translate_os_errors(folder.disk):
            staged = writer.finish(record)
        record = folder.store.publish(record, staged)
        return VideoFeatureFiles(
            job.source.name, job.name, written, end.clips, tuple(record.files), kept=False, notes=end.notes
        )


def _open_writer(record: FeatureRecord, job: Job, stage: Path) -> FeatureWriter:
    """Return the writer of a format for one video."""
    if record.format == "parquet":
        return ParquetPart(stage, job.name, to_utf8(job.source.name), record.layers, to_json(record))
    if record.format == "c3d":
        blobs = {layer: plain_name(CAFFE_BLOBS.get(layer, layer)) for layer in record.layers}
        numbers_from = (1 if job.source.kind == "images" else 0) if record.aggregate == "clips" else None
        return BlobWriter(stage, job.name, blobs, numbers_from)
    return NpyWriter(stage, job.name, record.layers)


def _close(writer: FeatureWriter) -> None:
    with suppress(OSError):  # of files that are not finished, and on a disk that may be full
        writer.close()
