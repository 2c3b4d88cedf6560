"""Clips for lower precision: some to measure ranges on, the others held out to measure the result's accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PACKAGED_CLIPS = "the packaged clip and noise"
"""The description of clips for which no videos were given."""


@dataclass(frozen=True, eq=False)
class CalibrationClips:
    """Clips as the network takes them, float32 (N, C, T, H, W), preprocessed by its profile.

    Attributes:
        calibration: on which value ranges are measured.
        held_out: on which methods are compared and the result is verified; never part of `calibration`, nor of the same
            video where there are several videos.
        names: of the held-out clips, as reports show them.
        description: what they are: `24 clips of 6 videos, 8 clips of 2 other videos held out`.
        sha256: SHA-256 of both arrays' shapes and bytes, for the manifest.
        notes: what a reader must know, for example that no clips were given and the result proves little.
        frames: the decoded frames of each held-out clip, (T, height, width, 3) uint8 RGB; only for a network that has
            its preprocessing inside, otherwise empty.
    """

    calibration: NDArray[Any]
    held_out: NDArray[Any]
    names: tuple[str, ...]
    description: str
    sha256: str
    notes: tuple[str, ...] = ()
    frames: tuple[NDArray[np.uint8], ...] = ()
