"""Which profile applies to a model, and its two halves: for each frame when it is decoded, and for each clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.artifacts.loading import LoadedArtifact
from exporter.errors import ArtifactError, UsageError
from exporter.inference.clip_input import ClipInput
from exporter.inference.types import InferenceOptions
from models.preprocessing import PROFILES, UNKNOWN, Preprocessing
from models.preprocessing.files import find_profile
from models.preprocessing.mean import fit_mean, load_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from exporter.video.types import Transform


@dataclass(frozen=True)
class VideoPreprocessing:
    """A profile for one model.

    Attributes:
        profile: the profile, for the network's own size of frames.
        transform: for each frame, (height, width, 3) uint8 RGB to the window; None where the model does it.
        to_clip: for each clip, (time, height, width, 3) to what the model takes.
        notes: what was assumed.
    """

    profile: Preprocessing
    transform: Transform | None
    to_clip: Callable[[NDArray[Any]], NDArray[Any]]
    notes: tuple[str, ...] = ()


def choose_preprocessing(
    artifact: LoadedArtifact, clip_input: ClipInput, options: InferenceOptions
) -> VideoPreprocessing:
    """Return the preprocessing of a model: that inside it, the one that `options` name, or the manifest's.

    Raises:
        UsageError: none is known, or one is named although it is inside the model.
        BadInputError: the profile's or the mean's file is bad.
        ArtifactError: the mean file that the manifest names is not there, or is another file now.
    """
    recorded = artifact.manifest.preprocessing if artifact.manifest is not None else None
    if clip_input.takes_frames:
        if options.preprocess is not None or options.mean is not None:
            raise UsageError(
                f"{artifact.path.name} has its preprocessing inside; --preprocess and --mean are for a model without"
            )
        return VideoPreprocessing(recorded or UNKNOWN, None, np.ascontiguousarray)
    if options.preprocess is not None:
        profile = _for_size(find_profile(options.preprocess), clip_input)
    elif recorded is None or recorded.name == UNKNOWN.name:
        known = ", ".join(profile.name for profile in PROFILES if profile is not UNKNOWN)
        raise UsageError(
            f"{artifact.path}: which preprocessing its weights expect is not recorded; name it with --preprocess "
            f"NAME|FILE: {known}, or a .json or .toml file"
        )
    else:
        profile = recorded
    return _with_mean(artifact, clip_input, options, profile)


def _for_size(profile: Preprocessing, clip_input: ClipInput) -> Preprocessing:
    """Return a profile for the network's frames: a known one in proportion, one of the user's as it is.

    Raises:
        UsageError: its crop does not fit.
    """
    height, width = clip_input.size[1:]
    fitted = profile.scaled(height, width) if profile in PROFILES else profile
    if fault := fitted.fault(height, width):
        raise UsageError(f"--preprocess {profile.name}: does not fit clips of {height}x{width} pixels: {fault}")
    return fitted


def _with_mean(
    artifact: LoadedArtifact, clip_input: ClipInput, options: InferenceOptions, profile: Preprocessing
) -> VideoPreprocessing:
    from models.preprocessing.frames import ClipTransform, FrameTransform

    path = options.mean or (None if options.preprocess is not None else _recorded_mean(artifact, profile))
    mean, notes = None, ()
    if path is not None:
        loaded, file = load_mean(path)
        if options.mean is None and profile.mean_cube is not None and file.sha256 != profile.mean_cube.sha256:
            raise ArtifactError(
                f"{path}: is not the mean file that {artifact.path.name} was exported with; name that with --mean"
            )
        mean = fit_mean(loaded, profile, clip_input.size, path)
        profile = replace(profile, mean_cube=file)
    elif profile.mean_file:
        notes = (
            f"the profile {profile.name} subtracts {profile.mean_file}, a mean for each pixel; without --mean FILE its "
            "average by channel is subtracted",
        )
    transform = FrameTransform(profile, clip_input.size[1:])
    return VideoPreprocessing(profile, transform, ClipTransform(profile, mean), notes)


def _recorded_mean(artifact: LoadedArtifact, profile: Preprocessing) -> Path | None:
    """Return the mean file that the manifest names; None where it names none.

    Raises:
        ArtifactError: it is not where the manifest says, and not beside the artifact.
    """
    record = profile.mean_cube
    if record is None:
        return None
    candidates = [artifact.path.parent / name for name in (record.path, record.file) if name]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        tried = " or ".join(map(str, candidates))
        raise ArtifactError(f"{artifact.path}: its mean file {record.file} is not at {tried}; name it with --mean")
    return found
