"""A video's classes over time, in a bounded number of points."""

import numpy as np
import pytest

from exporter.inference.timeline import Timeline


@pytest.mark.parametrize("clips", [1, 7, 8, 9, 16, 17, 100, 1000])
def test_points_are_averages_of_clips_that_follow_one_another(clips: int) -> None:
    values = np.random.default_rng(clips).random((clips, 5))
    timeline = Timeline(max_points=8)
    for index, row in enumerate(values):
        timeline.add(index * 0.5, index * 0.5 + 0.64, row)
    points = timeline.points([3, 0])
    assert len(points) <= 8
    assert sum(point.clips for point in points) == clips
    first = 0
    for point in points:
        own = values[first : first + point.clips]
        assert point.values == pytest.approx(own.mean(0)[[3, 0]])
        assert (point.start, point.end) == (first * 0.5, (first + point.clips - 1) * 0.5 + 0.64)
        first += point.clips
    assert len({point.clips for point in points[:-1]}) <= 1  # evenly long, the last one aside


def test_the_values_that_were_given_stay_as_they_are() -> None:
    values = np.ones(3)
    timeline = Timeline(max_points=2)
    for index in range(5):
        timeline.add(index, index + 1, values)
    assert values.tolist() == [1, 1, 1]
    assert [point.values for point in timeline.points([0])] == [(1.0,), (1.0,)]


def test_an_odd_number_of_points_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        Timeline(max_points=3)
