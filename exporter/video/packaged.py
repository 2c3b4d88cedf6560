"""The real clip that ships with the package."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

PACKAGED_FRAMES = 16


def packaged_frames(count: int = PACKAGED_FRAMES) -> NDArray[np.uint8]:
    """Return frames of a real video (tests/data/README.md says which): (count, 128, 171, 3), uint8, RGB.

    More than there are run backwards and forwards.
    """
    with files("exporter.video").joinpath("packaged_clip.npz").open("rb") as stream, np.load(stream) as archive:
        frames: NDArray[np.uint8] = archive["frames"]
    added = max(0, count - len(frames))
    return np.pad(frames, ((0, added), (0, 0), (0, 0), (0, 0)), mode="symmetric")[:count] if added else frames[:count]
