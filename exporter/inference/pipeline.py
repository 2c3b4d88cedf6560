"""Videos in, the model's outputs clip by clip: decoding runs in a thread of its own, beside the engine.

The decoder reads one video after another, resizes each frame once, and puts clips into a queue that is bounded in
bytes, so that memory does not depend on a video's length. The caller's thread fills batches with them, across the ends
of videos, and runs the model. Both release Python's lock while they work: FFmpeg, NumPy's loops and the engines are C.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import C3DExportError, CheckFailedError
from exporter.inference.bounded_queue import BoundedQueue
from exporter.inference.model import VideoModel
from exporter.inference.types import ClipOutputs, VideoEnd
from exporter.video.reader import Video, open_video
from exporter.video.sampling import Sampling
from exporter.video.sources import Source
from exporter.video.types import Clip
from models.progress import Progress, no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUEUE_BYTES = 32 << 20
"""Clips that wait for the model: 13 of the published network's. A larger clip waits alone."""
BATCH_BYTES = 1 << 30
"""Clips of one call of the model, where the batch size is free: frames of their own size may be large."""
PREVIEW_SIZE = 128
"""Rows or columns of a preview, about: what a page shows of a frame."""
JOIN_SECONDS = 10.0
"""How long to wait for the decoder at an early end. A source that does not answer (a camera, a network file system)
may take longer; its thread is a daemon and ends with the process."""


@dataclass(frozen=True)
class _Decoded:
    """A clip that waits for the model."""

    number: int
    clip: Clip
    values: NDArray[Any]
    preview: NDArray[np.uint8] | None


@dataclass(frozen=True)
class _Crash:
    """An error of the decoder's thread that is not the video's."""

    error: BaseException


_Events = BoundedQueue[_Decoded | VideoEnd | _Crash | None]


def run_videos(
    model: VideoModel,
    sources: Sequence[Source],
    sampling: Sampling,
    progress: Progress = no_progress,
    *,
    previews: bool = False,
) -> Generator[ClipOutputs | VideoEnd]:
    """Run a model over videos.

    Args:
        model: entered.
        sources: the videos.
        sampling: how clips are taken from each.
        progress: called at each call of the model.
        previews: also return a frame of each clip.

    Yields:
        for each video in the order of `sources`, its clips in order of time, then its end. A video that cannot be read,
        on which the model fails, or for which it returns NaN or an infinity, ends with an error; the others go on.
        When the caller stops iterating, the decoder stops.

    Raises:
        Exception: a bug in decoding.
    """
    queue = _Events(QUEUE_BYTES)
    failed: dict[int, C3DExportError] = {}
    decoder = _Decoder(model, sources, sampling, queue, failed, previews=previews)
    thread = Thread(target=decoder.run, name="decoder", daemon=True)
    thread.start()
    batches = _Batches(model, sources, failed, progress)
    try:
        while (event := queue.get()) is not None:
            if isinstance(event, _Crash):
                raise event.error
            yield from batches.add(event)
        yield from batches.flush()
    finally:
        queue.close()
        thread.join(JOIN_SECONDS)


class _Decoder:
    """The decoder's thread: every video's clips, then its end, into the queue."""

    def __init__(
        self,
        model: VideoModel,
        sources: Sequence[Source],
        sampling: Sampling,
        queue: _Events,
        failed: Mapping[int, C3DExportError],
        *,
        previews: bool,
    ) -> None:
        self._model, self._sources, self._sampling = model, sources, sampling
        self._queue, self._failed, self._previews = queue, failed, previews

    def run(self) -> None:
        """Decode every video, until the queue is closed."""
        try:
            if all(self._decode(number, source) for number, source in enumerate(self._sources)):
                self._queue.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._queue.put(_Crash(error))

    def _decode(self, number: int, source: Source) -> bool:
        """Decode one video; return False where the queue was closed."""
        video: Video | None = None
        error: C3DExportError | None = None
        try:
            with open_video(source, self._model.transform) as video:
                for clip in video.clips(self._sampling):
                    if number in self._failed:
                        break
                    values = self._model.to_input(clip.frames)
                    preview = make_preview(clip.frames) if self._previews else None
                    if not self._queue.put(_Decoded(number, clip, values, preview), values.nbytes):
                        return False
        except C3DExportError as caught:
            error = caught
        return self._queue.put(_end(source, number, video, error))


def _end(source: Source, number: int, video: Video | None, error: C3DExportError | None) -> VideoEnd:
    """Return the end of a video as the decoder knows it; how many clips had outputs is not known here."""
    if video is None:
        return VideoEnd(source.name, number, 0, error=error)
    info, summary = video.info, video.summary
    return VideoEnd(
        source.name,
        number,
        0,
        width=info.width,
        height=info.height,
        fps=info.fps,
        frames=summary.frames,
        duration=info.duration,
        notes=summary.notes,
        error=error,
    )


class _Batches:
    """Clips and ends of videos that wait until a batch is full, in order."""

    def __init__(
        self, model: VideoModel, sources: Sequence[Source], failed: dict[int, C3DExportError], progress: Progress
    ) -> None:
        self._model, self._sources, self._failed, self._progress = model, sources, failed, progress
        self._waiting: list[_Decoded | VideoEnd] = []
        self._clips: list[_Decoded] = []
        self._done: dict[int, int] = {}

    def add(self, event: _Decoded | VideoEnd) -> Iterator[ClipOutputs | VideoEnd]:
        """Take a clip, or the end of a video; yield what is ready."""
        if isinstance(event, VideoEnd):
            self._waiting.append(event)
            if not self._clips:
                yield from self.flush()
            return
        if event.number in self._failed:
            return
        if self._clips and self._clips[0].values.shape != event.values.shape:
            yield from self.flush()
        self._waiting.append(event)
        self._clips.append(event)
        if len(self._clips) >= self._batch(event.values):
            yield from self.flush()

    def flush(self) -> Iterator[ClipOutputs | VideoEnd]:
        """Run the model on the clips that wait, and yield everything that waits."""
        waiting, clips = self._waiting, self._clips
        self._waiting, self._clips = [], []
        outputs = iter(self._run(clips))
        for event in waiting:
            if isinstance(event, VideoEnd):
                yield replace(
                    event,
                    clips=self._done.pop(event.number, 0),
                    error=self._failed.get(event.number) or event.error,
                )
                continue
            values = next(outputs)
            if event.number in self._failed:
                continue
            if isinstance(values, C3DExportError):
                self._failed[event.number] = values
                continue
            self._done[event.number] = self._done.get(event.number, 0) + 1
            yield self._make(event, values)

    def _make(self, event: _Decoded, values: Mapping[str, NDArray[Any]]) -> ClipOutputs:
        clip = event.clip
        return ClipOutputs(
            self._sources[event.number].name,
            event.number,
            clip.index,
            clip.first,
            clip.last,
            clip.start,
            clip.end,
            clip.repeated,
            values,
            event.preview,
        )

    def _batch(self, values: NDArray[Any]) -> int:
        """Return how many clips of this size go into one call."""
        if self._model.fixed_batch:
            return self._model.batch
        return max(1, min(self._model.batch, BATCH_BYTES // max(1, values.nbytes)))

    def _run(self, clips: Sequence[_Decoded]) -> list[dict[str, NDArray[Any]] | CheckFailedError]:
        """Return each clip's outputs, or why there are none. Where a batch fails, each of its clips runs alone."""
        if not clips:
            return []
        source = self._sources[clips[0].number]
        self._progress(f"{source.name} ({clips[0].number + 1} of {len(self._sources)}): {clips[0].clip.start:.1f} s")
        try:
            outputs = self._model.run([event.values for event in clips])
        except CheckFailedError as error:
            if len(clips) == 1:
                return [CheckFailedError(f"{source.name}: {error}")]
            return [result for event in clips for result in self._run([event])]
        return [self._checked(event, row, outputs) for row, event in enumerate(clips)]

    def _checked(
        self, event: _Decoded, row: int, outputs: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]] | CheckFailedError:
        """Return one clip's outputs, or an error where a number is not finite."""
        for name, values in outputs.items():
            if values.dtype.kind == "f" and not np.isfinite(values[row]).all():
                return CheckFailedError(
                    f"{self._sources[event.number].name}: the network returns NaN or an infinity in {name} for the "
                    f"clip at {event.clip.start:.2f} s; c3d-export verify parity shows whether the artifact is at fault"
                )
        return {name: values[row].copy() for name, values in outputs.items()}


def make_preview(frames: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the middle frame of a clip (time, height, width, 3) as RGB uint8, of about `PREVIEW_SIZE` rows or columns.

    Larger frames are thinned, not smoothed.
    """
    frame = frames[len(frames) // 2]
    every = max(1, min(frame.shape[:2]) // PREVIEW_SIZE)
    return np.ascontiguousarray(np.clip(frame[::every, ::every], 0, 255).astype(np.uint8))
