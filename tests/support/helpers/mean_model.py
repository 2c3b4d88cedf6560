"""A stand-in for a video model, whose output can be computed from the frames."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from exporter.engines.base import RuntimeOptions
from exporter.inference.model import VideoModel
from exporter.inference.pipeline import run_videos
from exporter.inference.types import ClipOutputs, VideoEnd
from exporter.video.sampling import Sampling
from exporter.video.sources import Source

Array = NDArray[Any]
SAMPLING = Sampling(8)


def compute_mean(clips: Array) -> Array:
    return clips.reshape(len(clips), -1).mean(axis=1, keepdims=True)


@dataclass
class MeanModel:
    """Returns the mean of each clip's pixels."""

    runtime_options = RuntimeOptions()
    takes_turns = False
    batch: int = 1
    fixed_batch: bool = False
    compute: Callable[[Array], Array] = compute_mean
    sizes: list[int] = field(default_factory=list[int])

    def transform(self, frame: Array) -> Array:
        return frame[::4, ::4].astype(np.float32)

    def to_input(self, frames: Array) -> Array:
        return frames

    def run(self, clips: Sequence[Array]) -> dict[str, Array]:
        self.sizes.append(len(clips))
        return {"mean": self.compute(np.stack(clips))}


def run(model: MeanModel, *paths: Path, sampling: Sampling = SAMPLING, **options: Any) -> list[ClipOutputs | VideoEnd]:
    sources = [Source(str(path), path.name) for path in paths]
    return list(run_videos(cast("VideoModel", model), sources, sampling, **options))


def describe(event: ClipOutputs | VideoEnd) -> tuple[object, ...]:
    value = float(event.outputs["mean"][0]) if isinstance(event, ClipOutputs) else str(event.error)
    return event.source, event.number, value, getattr(event, "index", None)
