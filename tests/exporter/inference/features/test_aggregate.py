"""Aggregation: the descriptor, and segments as the origins of the anomaly detection features index them."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from helpers.features import rows
from numpy.typing import NDArray

from exporter.inference.features.aggregate import aggregate, segment_bounds
from exporter.inference.features.types import Aggregate, FeatureRow


def run(clips: list[FeatureRow], how: Aggregate, tmp_path: Path) -> list[FeatureRow]:
    return list(aggregate(clips, how, tmp_path, tmp_path))


def matlab_round(value: float) -> int:
    """MATLAB's round: halves away from zero."""
    return int(np.floor(abs(value) + 0.5) * np.sign(value))


def sultani(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """The recipe of Save_C3DFeatures_32Segments.m, with MATLAB's positions from 1 and closed ranges."""
    edges = [matlab_round(value) for value in np.linspace(1, len(features), 33)]
    result: list[NDArray[np.float64]] = []
    for start, following in itertools.pairwise(edges):
        last = following - 1
        row = features[start - 1] if last <= start else features[start - 1 : last].mean(axis=0)
        result.append(row / np.linalg.norm(row))
    return np.stack(result)


def ekosman(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """The recipe of ekosman's feature_extractor.py: NumPy's rounding, half-open ranges from 0."""
    edges = np.round(np.linspace(0, len(features) - 1, 33)).astype(int)
    result: list[NDArray[np.float64]] = []
    for start, stop in itertools.pairwise(edges):
        row = features[start] if start == stop else features[start:stop].mean(axis=0)
        result.append(row / np.linalg.norm(row))
    return np.stack(result)


@pytest.mark.parametrize("clips", [1, 2, 17, 32, 33, 34, 49, 64, 65, 100, 1000])
def test_segments_are_those_of_both_origins(clips: int, tmp_path: Path) -> None:
    given = rows(clips)
    features = np.stack([row.features["fc6"] for row in given]).astype(np.float64)
    for how, origin in (("segments", sultani), ("segments-ekosman", ekosman)):
        made = run(given, how, tmp_path)  # pyright: ignore[reportArgumentType]
        assert [row.index for row in made] == list(range(32))
        np.testing.assert_allclose(np.stack([row.features["fc6"] for row in made]), origin(features), atol=1e-6, rtol=0)


def test_the_origins_differ_where_a_boundary_is_a_half() -> None:
    assert segment_bounds(17) != segment_bounds(17, half_even=True)
    assert segment_bounds(33) == segment_bounds(33, half_even=True) == [(clip, clip + 1) for clip in range(32)]


def test_a_segment_covers_the_frames_of_its_clips(tmp_path: Path) -> None:
    given = rows(100)
    made = run(given, "segments", tmp_path)
    assert (made[0].first, made[0].last) == (given[0].first, given[2].last)  # clips 0, 1, 2: the second begins at 3
    assert (made[1].start, made[1].end) == (given[3].start, given[5].end)


def test_the_descriptor_is_the_normalised_mean(tmp_path: Path) -> None:
    given = rows(30, shape=(512, 1, 4, 4), layer="pool5")
    (made,) = run(given, "mean", tmp_path)
    mean = np.mean([row.features["pool5"] for row in given], axis=0, dtype=np.float64)
    np.testing.assert_allclose(made.features["pool5"], mean / np.sqrt((mean**2).sum()), atol=1e-7, rtol=0)
    assert (made.index, made.first, made.last, made.start, made.end) == (0, 0, 29 * 8 + 15, 0, given[-1].end)


def test_features_of_zero_stay_zero_and_no_clip_gives_no_row(tmp_path: Path) -> None:
    (zero,) = rows(1)
    zero.features["fc6"][:] = 0
    for how in ("mean", "segments"):
        assert not run([zero], how, tmp_path)[0].features["fc6"].any()
        assert run([], how, tmp_path) == []


def test_segments_of_a_long_video_do_not_fill_the_memory(tmp_path: Path) -> None:
    import tracemalloc

    (row,) = rows(1, shape=(4096,))
    clips = 4000  # 64 MB of features
    tracemalloc.start()
    assert sum(1 for _ in aggregate((row for _ in range(clips)), "segments", tmp_path, tmp_path)) == 32
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
