"""Some frames of the real clips, for people to see what was classified."""

from collections.abc import Sequence

from exporter.parity.inputs import InputSet
from exporter.results import Comparison, PreviewFrames
from models.preprocessing import CLIP_LENGTH

COUNT = 6
"""Frames of a clip that are shown, evenly spread from the first to the last."""
MOST = 24
"""Clips that are shown: more would make a page of many megabytes."""


def preview_frames(pool: InputSet, comparisons: Sequence[Comparison]) -> tuple[PreviewFrames, ...]:
    """Return frames of the real clips in the pool; of more than `MOST` those that use most of their budget."""
    shares: dict[str, float] = {}
    for row in comparisons:
        shares[row.input] = max(row.budget_used, shares.get(row.input, 0.0))
    worst = sorted(pool.frames, key=lambda row: -shares.get(pool.names[row], 0.0))[:MOST]
    numbers = [round(place * (CLIP_LENGTH - 1) / (COUNT - 1)) for place in range(COUNT)]
    reported: list[PreviewFrames] = []
    for row in sorted(worst):
        frames = pool.frames[row]
        height, width = frames.shape[1:3]
        taken = tuple(frames[number].tobytes() for number in numbers)
        reported.append(PreviewFrames(pool.names[row], width, height, taken, tuple(number + 1 for number in numbers)))
    return tuple(reported)
