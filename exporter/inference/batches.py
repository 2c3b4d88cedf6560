"""Clips that wait until a batch is full, in the order in which they are given back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import C3DExportError, CheckFailedError
from exporter.inference.model import VideoModel
from exporter.inference.turns import Turns
from exporter.inference.types import ClipOutputs, VideoEnd
from exporter.video.sources import Source
from exporter.video.types import Clip
from models.progress import Progress

BATCH_BYTES = 1 << 30
"""Clips of one call of the model, where the batch size is free: frames of their own size may be large."""


@dataclass(frozen=True)
class DecodedClip:
    """A clip that waits for the model."""

    number: int
    clip: Clip
    values: NDArray[Any]
    preview: NDArray[np.uint8] | None


class Batches:
    """Clips and ends of videos that wait until a batch is full, in order."""

    def __init__(
        self,
        model: VideoModel,
        sources: Sequence[Source],
        failed: dict[int, C3DExportError],
        progress: Progress,
        turns: Turns | None,
    ) -> None:
        self._model, self._sources, self._failed, self._progress = model, sources, failed, progress
        self._turns = turns
        self._waiting: list[DecodedClip | VideoEnd] = []
        self._clips: list[DecodedClip] = []
        self._done: dict[int, int] = {}

    def add(self, event: DecodedClip | VideoEnd) -> Iterator[ClipOutputs | VideoEnd]:
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
            source = self._sources[event.number].name
            yield ClipOutputs(*event.clip.span(), source, event.number, values, event.preview)

    def _batch(self, values: NDArray[Any]) -> int:
        """Return how many clips of this size go into one call."""
        if self._model.fixed_batch:
            return self._model.batch
        return max(1, min(self._model.batch, BATCH_BYTES // max(1, values.nbytes)))

    def _run(self, clips: Sequence[DecodedClip]) -> list[dict[str, NDArray[Any]] | CheckFailedError]:
        """Return each clip's outputs, or why there are none. Where a batch fails, each of its clips runs alone."""
        if not clips:
            return []
        source = self._sources[clips[0].number]
        self._progress(f"{source.name} ({clips[0].number + 1} of {len(self._sources)}): {clips[0].clip.start:.1f} s")
        try:
            with nullcontext() if self._turns is None else self._turns.engine:
                outputs = self._model.run([event.values for event in clips])
        except CheckFailedError as error:
            if len(clips) == 1:
                return [CheckFailedError(f"{source.name}: {error}")]
            return [result for event in clips for result in self._run([event])]
        return [self._checked(event, row, outputs) for row, event in enumerate(clips)]

    def _checked(
        self, event: DecodedClip, row: int, outputs: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]] | CheckFailedError:
        """Return one clip's outputs, or an error where a number is not finite."""
        for name, values in outputs.items():
            if values.dtype.kind == "f" and not np.isfinite(values[row]).all():
                return CheckFailedError(
                    f"{self._sources[event.number].name}: the network returns NaN or an infinity in {name} for the "
                    f"clip at {event.clip.start:.2f} s; c3d-export verify parity shows whether the artifact is at fault"
                )
        return {name: values[row].copy() for name, values in outputs.items()}
