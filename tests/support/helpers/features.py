"""Outputs of a model over videos, made up, for tests of feature files."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.errors import C3DExportError
from exporter.inference.features.folder import Job
from exporter.inference.features.record import FeatureRecord, record_profile
from exporter.inference.features.types import FeatureRow
from exporter.inference.types import ClipOutputs, VideoEnd
from exporter.video.sources import Source
from models.preprocessing.files import find_profile

RECORD = FeatureRecord(
    version=1,
    producer="c3d-export 0",
    model="c3d.onnx",
    model_sha256="a" * 64,
    engine="onnxruntime (cpu)",
    layers={"fc6": (6,)},
    profile=record_profile(find_profile("caffe-sports1m")),
    sampling={"frames": 16, "window": 16, "step": 8, "clips": None, "short": "repeat"},
    aggregate="clips",
    format="npy",
)
STEP = 8


def values(video: int, clip: int, shape: tuple[int, ...] = (6,)) -> NDArray[np.float32]:
    """Return the made-up features of a clip, different for each."""
    return np.random.default_rng([video, clip]).standard_normal(shape, np.float32)


def rows(clips: int, shape: tuple[int, ...] = (6,), layer: str = "fc6", video: int = 0) -> list[FeatureRow]:
    """Return the rows of a video's clips: 16 frames each, a step of 8, at 25 frames a second."""
    return [
        FeatureRow(
            index,
            index * STEP,
            index * STEP + 15,
            index * STEP / 25,
            (index * STEP + 16) / 25,
            0,
            {layer: values(video, index, shape)},
        )
        for index in range(clips)
    ]


def items(
    clips: Sequence[int], errors: dict[int, C3DExportError] | None = None, videos: Sequence[int] | None = None
) -> Iterator[ClipOutputs | VideoEnd]:
    """Yield the outputs for videos with so many clips each; some end with an error.

    Args:
        clips: number of each video's clips.
        errors: {video: the error it ends with}.
        videos: which features each video has; None for different ones.
    """
    for number, count in enumerate(clips):
        for row in rows(count, video=videos[number] if videos else number):
            yield ClipOutputs(*row.span(), f"v{number}.mp4", number, row.features)
        yield VideoEnd(f"v{number}.mp4", number, count, error=(errors or {}).get(number))


def jobs(count: int) -> list[Job]:
    """Return a job for each of so many videos, none of which was done before."""
    return [
        Job(
            Source(f"v{number}.mp4", f"v{number}.mp4"),
            f"/videos/v{number}.mp4",
            f"v{number}",
            bytes=1,
            modified_ns=2,
            done=None,
        )
        for number in range(count)
    ]


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file that a user sees in a folder, by its path."""
    every = (path for path in folder.rglob("*") if path.is_file())
    paths = {path.relative_to(folder): path for path in every}
    return {str(name): path.read_bytes() for name, path in paths.items() if not name.parts[0].startswith(".")}


def stored_as(kind: str) -> FeatureRecord:
    """Return `RECORD` for another format."""
    return replace(RECORD, format=kind)  # pyright: ignore[reportArgumentType]
