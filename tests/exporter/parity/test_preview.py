"""Which frames a report shows."""

import numpy as np
from helpers.reports import comparison

from exporter.parity.input_set import InputSet
from exporter.parity.preview import MAX_CLIPS, preview_frames


def test_frames_of_the_clips_that_use_most_of_their_budget() -> None:
    frames = {
        row: np.full((16, 4, 5, 3), row, np.uint8) + np.arange(16, dtype=np.uint8)[:, None, None, None]
        for row in range(30)
    }
    inputs = InputSet.of_rows({"x": np.zeros((30, 1))}, tuple(f"c{row}" for row in range(30)), frames)
    previews = preview_frames(inputs, [comparison(f"c{row}", row / 100) for row in range(30)])
    assert [clip.input for clip in previews] == [f"c{row}" for row in range(30 - MAX_CLIPS, 30)]
    assert (previews[0].width, previews[0].height, previews[0].numbers) == (5, 4, (1, 4, 7, 10, 13, 16))
    assert [set(frame) for frame in previews[0].frames] == [{6 + number - 1} for number in previews[0].numbers]
    assert {len(frame) for frame in previews[0].frames} == {4 * 5 * 3}
