"""Videos in, the model's outputs clip by clip: decoding runs in threads of its own, beside the engine.

A decoder reads a video, resizes each frame once, and puts clips into a queue; all queues together are bounded in bytes,
so that memory does not depend on a video's length. The caller's thread takes the clips video by video, fills batches
across the ends of videos, and runs the model: the batches are the same however many decoders there are. All release
Python's lock while they work: FFmpeg, NumPy's loops and the engines are C.

Several videos are decoded at once where there are processors to spare: beside a GPU, or beside an engine that has many
cores. Where the engine has all of a few cores, decoders and engine take turns (`exporter.inference.turns`), and FFmpeg
decodes a video's next frames while those before them are converted and resized.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from threading import Lock, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import C3DExportError, OutOfMemoryError
from exporter.inference.batches import Batches, DecodedClip
from exporter.inference.model import VideoModel
from exporter.inference.turns import CORES_OF_A_DECODER, Turns
from exporter.inference.types import ClipOutputs, VideoEnd
from exporter.inference.video_queues import VideoQueues
from exporter.memory_errors import translate_memory_errors
from exporter.storage import is_url
from exporter.system import available_cpus
from exporter.types import Device
from exporter.video.reader import Video, open_video
from exporter.video.sampling import Sampling
from exporter.video.sources import Source
from models.progress import Progress, no_progress

QUEUE_BYTES = 32 << 20
"""Clips that wait for the model: 13 of the published network's. A larger clip waits alone."""
PREVIEW_SIZE = 128
"""Rows or columns of a preview, about: what a page shows of a frame."""
MAX_AHEAD = 16
"""Videos that may be begun after the one whose clips the model takes."""
MAX_DECODERS = 4
"""More threads wait for Python's lock, which what joins FFmpeg's and NumPy's work together holds."""
JOIN_SECONDS = 10.0
"""How long to wait for a decoder at an early end. A source that does not answer (a camera, a network file system)
may take longer; its thread is a daemon and ends with the process."""


_Queues = VideoQueues[DecodedClip | VideoEnd | BaseException]
"""What decoders found; an error is one of a decoder's thread that is not the video's."""


def run_videos(
    model: VideoModel,
    sources: Sequence[Source],
    sampling: Sampling,
    progress: Progress = no_progress,
    *,
    previews: bool = False,
    decoders: int | None = None,
    take_turns: bool | None = None,
) -> Generator[ClipOutputs | VideoEnd]:
    """Run a model over videos.

    Args:
        model: entered.
        sources: the videos.
        sampling: how clips are taken from each.
        progress: called at each call of the model.
        previews: also return a frame of each clip.
        decoders: how many videos are decoded at once; None for `choose_decoders`.
        take_turns: whether decoders rest while the model runs; None for `model.takes_turns`.

    Yields:
        for each video in the order of `sources`, its clips in order of time, then its end. A video that cannot be read,
        on which the model fails, or for which it returns NaN or an infinity, ends with an error; the others go on.
        When the caller stops iterating, the decoders stop.

    Raises:
        Exception: a bug in decoding.
    """
    queues = _Queues(QUEUE_BYTES, MAX_AHEAD)
    failed: dict[int, C3DExportError] = {}
    turns = Turns() if (model.takes_turns if take_turns is None else take_turns) else None
    decoder = _Decoder(model, sources, sampling, queues, failed, turns, previews=previews)
    runtime = model.runtime_options
    count = decoders or choose_decoders(runtime.device, runtime.threads)
    threads = [Thread(target=decoder.run, name="decoder", daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    batches = Batches(model, sources, failed, progress, turns)
    try:
        for number in range(len(sources)):
            event = None
            while not isinstance(event, VideoEnd):
                event = queues.get(number)
                if isinstance(event, BaseException):
                    raise event
                yield from batches.add(event)
        yield from batches.flush()
    finally:
        queues.close()
        for thread in threads:
            thread.join(JOIN_SECONDS)


def choose_decoders(device: Device, threads: int | None) -> int:
    """Return how many videos are decoded at once.

    Args:
        device: where the engine runs.
        threads: the engine's threads; None for all cores.
    """
    cores = available_cpus()
    if device == "cpu":
        cores = min(cores, threads or cores) // CORES_OF_A_DECODER
    return max(1, min(MAX_DECODERS, cores))


class _Decoder:
    """What the decoders' threads do: every video's clips, then its end, into the video's queue."""

    def __init__(
        self,
        model: VideoModel,
        sources: Sequence[Source],
        sampling: Sampling,
        queues: _Queues,
        failed: Mapping[int, C3DExportError],
        turns: Turns | None,
        *,
        previews: bool,
    ) -> None:
        self._model, self._sources, self._sampling = model, sources, sampling
        self._queues, self._failed, self._turns, self._previews = queues, failed, turns, previews
        self._next = 0
        self._lock = Lock()

    def run(self) -> None:
        """Decode the videos that no other thread has begun, until the queues are closed."""
        while (number := self._take()) < len(self._sources) and self._queues.begin(number):
            try:
                event = self._decode(number, self._sources[number])
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                event = error
            if event is None or not self._queues.put(number, event):
                return

    def _take(self) -> int:
        """Return the number of the next video."""
        with self._lock:
            self._next += 1
            return self._next - 1

    def _decode(self, number: int, source: Source) -> VideoEnd | None:
        """Queue the clips of one video and return its end; None where the queues were closed."""
        video: Video | None = None
        error: C3DExportError | None = None
        # what has to be waited for is not kept waiting: a camera, a pipe, an address
        turns = self._turns if source.kind != "camera" and not is_url(source.url) else None
        try:
            with (
                translate_memory_errors(source.name, "its frames are decoded"),
                open_video(source, self._model.transform, turns and turns.wait) as video,
            ):
                for clip in video.clips(self._sampling):
                    if number in self._failed:
                        break
                    values = self._model.to_input(clip.frames)
                    preview = make_preview(clip.frames) if self._previews else None
                    if not self._queues.put(number, DecodedClip(number, clip, values, preview), values.nbytes):
                        return None
        except OutOfMemoryError:  # not the video's fault
            raise
        except C3DExportError as caught:
            error = caught
        return _end(source, number, video, error)


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


def make_preview(frames: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the middle frame of a clip (time, height, width, 3) as RGB uint8, of about `PREVIEW_SIZE` rows or columns.

    Larger frames are thinned, not smoothed.
    """
    frame = frames[len(frames) // 2]
    every = max(1, min(frame.shape[:2]) // PREVIEW_SIZE)
    return np.ascontiguousarray(np.clip(frame[::every, ::every], 0, 255).astype(np.uint8))
