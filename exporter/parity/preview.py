"""Some frames of the real clips, for reports that show images."""

from collections.abc import Sequence

from exporter.parity.input_set import InputSet
from exporter.results import Comparison, PreviewFrames

FRAMES_PER_CLIP = 6
"""Frames of a clip, evenly spaced from the first to the last."""
MAX_CLIPS = 24
"""More clips would make a page of many megabytes."""


def preview_frames(inputs: InputSet, comparisons: Sequence[Comparison]) -> tuple[PreviewFrames, ...]:
    """Return frames of the real clips; of more than `MAX_CLIPS` clips, of those that use most of their budget."""
    used: dict[str, float] = {}
    for row in comparisons:
        used[row.input] = max(row.budget_used, used.get(row.input, 0.0))
    worst = sorted(inputs.frames, key=lambda row: -used.get(inputs.names[row], 0.0))[:MAX_CLIPS]
    previews: list[PreviewFrames] = []
    for row in sorted(worst):
        count, height, width = inputs.frames[row].shape[:3]
        indices = [round(i * (count - 1) / (FRAMES_PER_CLIP - 1)) for i in range(FRAMES_PER_CLIP)]
        frames = tuple(inputs.frames[row][index].tobytes() for index in indices)
        previews.append(PreviewFrames(inputs.names[row], width, height, frames, tuple(i + 1 for i in indices)))
    return tuple(previews)
