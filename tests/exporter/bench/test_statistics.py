"""Ratios and their interval, against counts by hand and against distributions whose median is known."""

from math import comb

import numpy as np
import pytest

from exporter.bench.statistics import paired_ratio

ONES = [1.0] * 100


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    ratio = paired_ratio([2.0, 30.0, 5.0], [1.0, 10.0, 2.0])
    assert ratio.value == 2.5
    assert (ratio.low, ratio.high) == (2.0, 3.0)


@pytest.mark.parametrize(
    ("rounds", "left_out"), [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (12, 2), (20, 5), (30, 9)]
)  # ranks of the 95 % interval of a median, as statistics tables give them
def test_the_interval_leaves_out_as_many_as_the_sign_test_allows(rounds: int, left_out: int) -> None:
    times = [float(number) for number in range(1, rounds + 1)]
    ratio = paired_ratio(times[::-1], ONES[:rounds])
    assert (ratio.low, ratio.high) == (1 + left_out, rounds - left_out)
    outside = sum(comb(rounds, k) for k in range(left_out + 1)) / 2**rounds
    assert ratio.confidence == pytest.approx(1 - 2 * outside)
    assert (ratio.confidence >= 0.95) == (rounds >= 6)


@pytest.mark.parametrize("rounds", [6, 9, 20])
def test_the_interval_holds_the_true_median_as_often_as_it_says(rounds: int) -> None:
    generator = np.random.default_rng(5)
    trials, true = 4000, 1.5
    draws = [list(true * generator.lognormal(0, 0.3, rounds)) for _ in range(trials)]  # skewed, as latencies are
    ratios = [paired_ratio(draw, ONES[:rounds]) for draw in draws]
    held = sum(ratio.low <= true <= ratio.high for ratio in ratios)
    assert held / trials == pytest.approx(ratios[0].confidence, abs=4 * (0.05 * 0.95 / trials) ** 0.5)


def test_drift_that_hits_a_whole_round_leaves_the_ratio_alone() -> None:
    drift = np.random.default_rng(1).lognormal(0, 1, 20)
    ratio = paired_ratio(list(3 * drift), list(drift))
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((3, 3, 3))


@pytest.mark.parametrize(("times", "first"), [([], []), ([1.0], [1.0, 2.0])])
def test_rounds_that_do_not_pair_are_refused(times: list[float], first: list[float]) -> None:
    with pytest.raises(ValueError, match="no rounds|shorter|longer"):
        paired_ratio(times, first)
