"""What clips to calibrate with are taken from: videos, and files of clips as the network takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from exporter.artifacts.files import sha256_file
from exporter.errors import BadInputError, UsageError, VideoError
from exporter.parity.arrays import read_npz, split_rows
from exporter.storage import local_path
from exporter.video.reader import open_video
from exporter.video.sampling import Sampling
from exporter.video.sources import Source
from models.built_model import BuiltModel
from models.preprocessing.frames import ClipTransform, FrameTransform
from models.preprocessing.recipe import COLOURS, Preprocessing
from models.progress import Progress
from models.specs import TensorSpec

Clip = NDArray[np.float32]

MAX_FRAME_PIXELS = 640 * 480
"""Frames of held-out clips that are kept are reduced to at most so many pixels: their number would bound no memory."""
RANGE_SLACK, MIN_RANGE_FRACTION = 1e-3, 0.02
"""Parts of the range of values that a profile makes: by how much clips of a file may exceed it, and which part of it
they cover at least."""


class Recording(Protocol):
    """What clips can be taken from: a video, or a file of clips.

    Attributes:
        name: for display.
        length: its frames, or its clips.
        span: how many of those a clip takes.
        unit: what is counted.
    """

    name: str
    length: int
    span: int
    unit: str

    def fingerprint(self) -> str:
        """Return what is equal for two recordings of the same content: the SHA-256 of a file, else its address."""
        ...

    def take(self, starts: Sequence[int], *, frames: bool) -> TakenClips:
        """Return the clips that begin there, and their frames if these are asked for."""
        ...


@dataclass(frozen=True)
class TakenClips:
    """Clips, a name for each, their frames where these were asked for, and what the user should know."""

    clips: list[Clip]
    names: list[str]
    frames: list[NDArray[np.uint8]]
    notes: tuple[str, ...] = ()


class VideoRecording:
    """A video, whose frames a profile makes into clips. See `Recording`.

    Raises:
        UsageError: a camera.
        UnavailableError: PyAV is not installed.
        VideoError: it is not a video, or cannot be read.
    """

    unit = "frame"

    def __init__(self, source: Source, name: str, sampling: Sampling, transform: ProfileTransform) -> None:
        if source.kind == "camera":
            raise UsageError(f"--calibrate {source.name}: a camera cannot be read twice; record a video")
        self.name = name
        self.span = sampling.span or sampling.frames
        self._source, self._sampling, self._transform = source, sampling, transform
        with open_video(source) as video:
            self.length = video.count_frames()

    def fingerprint(self) -> str:
        """See `Recording`."""
        path = local_path(self._source.url)
        return sha256_file(path) if self._source.kind == "file" and path is not None else self._source.url

    def take(self, starts: Sequence[int], *, frames: bool) -> TakenClips:
        """See `Recording`."""
        taken = TakenClips([], [], [])
        with open_video(self._source, None if frames else self._transform.frame) as video:
            for clip in video.clips(self._sampling, starts):
                pixels = clip.frames
                if frames:
                    taken.frames.append(_reduce(pixels))
                    pixels = self._transform.frame.batch(taken.frames[-1])
                taken.clips.append(self._transform.clip(pixels))
                taken.names.append(f"{self.name} frame {clip.first}")
            notes = tuple(f"--calibrate: {self.name}: {note}" for note in video.summary.notes)
        return TakenClips(taken.clips, taken.names, taken.frames, notes)


class ArrayRecording:
    """A file of clips as the network takes them. See `Recording`.

    Raises:
        BadInputError: not such a file, or its clips are of another shape or profile, or hold NaN or infinities.
    """

    unit, span = "clip", 1

    def __init__(self, path: Path, spec: TensorSpec, transform: ProfileTransform | None) -> None:
        self.name, self._path = path.name, path
        rows = split_rows(path, read_npz(path, (spec,)), (spec,), {spec.name: spec.shape}, batched=True)
        self._clips = [row[spec.name][0].astype(np.float32, copy=False) for row in rows]
        self.length = len(self._clips)
        require_finite(self.name, self._clips)
        if transform is not None:
            transform.require_range(self.name, self._clips)

    def fingerprint(self) -> str:
        """See `Recording`."""
        return sha256_file(self._path)

    def take(self, starts: Sequence[int], *, frames: bool) -> TakenClips:
        """See `Recording`."""
        assert not frames
        return TakenClips(
            [self._clips[start] for start in starts], [f"{self.name} row {start}" for start in starts], []
        )


@dataclass(frozen=True)
class ProfileTransform:
    """A profile, for one network's clips."""

    profile: Preprocessing
    size: tuple[int, int, int]
    frame: FrameTransform
    clip: ClipTransform

    @classmethod
    def of(cls, model: BuiltModel) -> ProfileTransform | None:
        """Return the profile of a network that takes RGB clips; None for others."""
        sizes = model.input.shape[1:]
        fixed = len(sizes) == 4 and sizes[0] == COLOURS and all(isinstance(size, int) for size in sizes)
        if model.preprocessing is None or not fixed:
            return None
        size = (int(sizes[1]), int(sizes[2]), int(sizes[3]))
        frame, clip = FrameTransform(model.preprocessing, size[1:]), ClipTransform(model.preprocessing, model.mean_cube)
        return cls(model.preprocessing, size, frame, clip)

    @cached_property
    def _range(self) -> tuple[Clip, Clip]:
        """The clips of black and of white frames: no other clip of this profile has smaller or larger values."""
        frames = np.zeros((*self.size, COLOURS), np.uint8)
        ends = self.clip(frames), self.clip(frames + np.uint8(255))
        return np.minimum(*ends), np.maximum(*ends)

    def require_range(self, name: str, clips: Sequence[Clip]) -> None:
        """Refuse clips that this profile cannot have made.

        Raises:
            BadInputError: their values leave its range, or lie in a small part of it.
        """
        low, high = self._range
        width = float((high - low).max())
        found = min(float(clip.min()) for clip in clips), max(float(clip.max()) for clip in clips)
        outside = any(
            max(float((low - clip).max()), float((clip - high).max())) > RANGE_SLACK * width for clip in clips
        )
        if outside or found[1] - found[0] < MIN_RANGE_FRACTION * width:
            raise BadInputError(
                f"--calibrate {name}: its values from {found[0]:.4g} to {found[1]:.4g} are not clips of the profile "
                f"{self.profile.name}, which makes values from {float(low.min()):.4g} to {float(high.max()):.4g}; "
                "preprocess them as this network does, or give the videos"
            )


def require_finite(name: str, clips: Sequence[Clip]) -> None:
    """Refuse clips that hold NaN or infinities.

    Raises:
        BadInputError: one does.
    """
    for number, clip in enumerate(clips):
        if not np.isfinite(clip).all():
            raise BadInputError(
                f"--calibrate {name}: clip {number} holds NaN or infinities, so that no value range can be measured"
            )


def _reduce(frames: NDArray[Any]) -> NDArray[np.uint8]:
    """Leave out rows and columns of frames until they have at most `MAX_FRAME_PIXELS`."""
    step = int(np.ceil(np.sqrt(frames.shape[1] * frames.shape[2] / MAX_FRAME_PIXELS)))
    return np.array(frames[:, ::step, ::step], order="C")  # a copy: torch wants writable memory


@dataclass(frozen=True)
class Take:
    """Where clips of a recording begin."""

    recording: Recording
    starts: tuple[int, ...]


def take_clips(takes: Sequence[Take], progress: Progress, *, frames: bool) -> TakenClips:
    """Return the clips of all takes, with their frames if these are asked for.

    Args:
        takes: from where.
        progress: called for every recording.
        frames: whether frames are asked for.

    Raises:
        VideoError: no clip could be decoded.
        BadInputError: one holds NaN or infinities.
    """
    every = TakenClips([], [], [])
    notes: list[str] = []
    for number, take in enumerate(takes, start=1):
        progress(f"{number} of {len(takes)}: {take.recording.name}")
        taken = take.recording.take(take.starts, frames=frames)
        require_finite(take.recording.name, taken.clips)
        every.clips.extend(taken.clips)
        every.names.extend(taken.names)
        every.frames.extend(taken.frames)
        notes += taken.notes
    if not every.clips:
        raise VideoError("--calibrate: fewer frames could be decoded than the videos state; no clip is left")
    return replace(every, notes=tuple(notes))
