"""Clips for lower precision: those that ranges are measured on, and those held out to judge the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class CalibrationClips:
    """Clips as the network takes them, float32 (N, C, T, H, W), preprocessed by its profile.

    Attributes:
        calibration: on which value ranges are measured.
        held_out: on which methods are compared and the result is judged; never part of `calibration`, nor of the same
            video where there are several videos.
        names: of the held-out clips, as reports show them.
        description: what they are: `24 clips of 6 videos, 8 of 2 other videos held out`.
        sha256: SHA-256 of both arrays' shapes and bytes, for the manifest.
        notes: what a reader must know, for example that no clips were given and the result proves little.
    """

    calibration: NDArray[Any]
    held_out: NDArray[Any]
    names: tuple[str, ...]
    description: str
    sha256: str
    notes: tuple[str, ...] = ()
