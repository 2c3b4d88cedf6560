"""Which profile applies to a model, and its two halves: for each frame when it is decoded, and for each clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporter.artifacts.loading import LoadedArtifact
from exporter.errors import UsageError
from exporter.inference.clip_input import ClipInput
from exporter.inference.types import InferenceOptions
from models.preprocessing.profiles import UNKNOWN, describe_profiles
from models.preprocessing.recipe import Preprocessing
from models.preprocessing.selection import choose_profile, recorded_profile

if TYPE_CHECKING:
    from exporter.video.types import Transform


@dataclass(frozen=True)
class VideoPreprocessing:
    """A profile for one model.

    Attributes:
        profile: the profile, for the network's own size of frames.
        transform: for each frame, (height, width, 3) uint8 RGB to the crop; None where the model does it.
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
        BadInputError: the profile's or the mean's file is bad, or is not where the manifest says.
    """
    recorded = artifact.manifest.preprocessing if artifact.manifest is not None else None
    if clip_input.takes_frames:
        if options.preprocess is not None or options.mean is not None:
            raise UsageError(
                f"{artifact.path.name} has its preprocessing inside; --preprocess and --mean are for a model without"
            )
        return VideoPreprocessing(recorded or UNKNOWN, None, np.ascontiguousarray)
    require_known_profile(artifact.path, recorded, options)
    profile = recorded or UNKNOWN
    if options.preprocess is None and options.mean is None:
        chosen = recorded_profile(profile, clip_input.size, artifact.path.parent)
    else:
        chosen = choose_profile(profile, clip_input.size, options.preprocess, options.mean)
    assert chosen.preprocessing is not None
    from models.preprocessing.frames import ClipTransform, FrameTransform

    return VideoPreprocessing(
        chosen.preprocessing,
        FrameTransform(chosen.preprocessing, clip_input.size[1:]),
        ClipTransform(chosen.preprocessing, chosen.mean_cube),
        chosen.notes,
    )


def require_known_profile(source: str | Path, recorded: Preprocessing | None, options: InferenceOptions) -> None:
    """Refuse a model whose profile nothing states.

    Args:
        source: the model or checkpoint, as the user named it.
        recorded: the profile that it came with.
        options: `preprocess` names one.

    Raises:
        UsageError: neither states it.
    """
    if options.preprocess is not None or (recorded is not None and recorded.name != UNKNOWN.name):
        return
    raise UsageError(
        f"{source}: which preprocessing its weights expect is not recorded; name it with --preprocess NAME|FILE: "
        f"{describe_profiles()}"
    )
