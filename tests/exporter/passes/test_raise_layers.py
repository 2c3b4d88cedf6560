"""Layers are raised by measurement: as few as are needed, in few measurements.

The expected values come from an additive model that the search does not know: each layer adds noise of its own power to
a signal of power 1, and raising a layer removes its noise.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.passes.raise_layers import Raised, raise_layers

NOISE = {"conv1": 1e-4, "conv2": 3e-3, "fc6": 1e-2, "fc7": 2e-6}
noises = st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=6).map(lambda found: dict(enumerate_names(found)))


def enumerate_names(found: list[float]) -> list[tuple[str, float]]:
    return [(f"layer{number}", power) for number, power in enumerate(found)]


class AdditiveNoise:
    """Measures a set from {layer: noise power}, and keeps what it was asked for."""

    def __init__(self, noise: dict[str, float]) -> None:
        self.noise = noise
        self.asked: list[frozenset[str]] = []

    def __call__(self, raised: frozenset[str]) -> float:
        self.asked.append(raised)
        power = math.fsum(power for layer, power in self.noise.items() if layer not in raised)
        return -10 * math.log10(power) if power else math.inf


def test_each_stage_has_a_line() -> None:
    """The additive model: the sums of the powers that are left are 1.31e-2, 3.1e-3 and 1.02e-4."""
    finished: list[str] = []
    next(raise_layers([*NOISE], AdditiveNoise(NOISE), 30.0, finished=finished.append))
    assert finished == [
        "no layer raised: 18.8 dB; 30 dB are required",
        "measured what each of 4 layers costs alone",
        "1 layer raised, fc6 last: 25.1 dB",
        "2 layers raised, conv2 last: 39.9 dB",
    ]


def first(noise: dict[str, float], required: float) -> tuple[Raised, AdditiveNoise]:
    measure = AdditiveNoise(noise)
    return next(raise_layers([*noise], measure, required)), measure


def test_nothing_is_raised_where_it_holds_as_it_is():
    found, measure = first(NOISE, 18)  # 10 log10(1 / 0.0131) = 18.8 dB
    assert found.layers == frozenset()
    assert found.snr_db == pytest.approx(18.82, abs=0.01)
    assert measure.asked == [frozenset()]


def test_the_layers_that_cost_most_are_raised_until_it_holds():
    found, _ = first(NOISE, 38)  # without fc6 and conv2: 10 log10(1 / 1.02e-4) = 39.9 dB
    assert [row.layer for row in found.rows] == ["fc6", "conv2"]
    assert found.snr_db == pytest.approx(39.91, abs=0.01)
    assert [row.gain_db for row in found.rows] == pytest.approx([6.26, 14.83], abs=0.01)


def test_one_more_layer_each_time_that_the_caller_rejects_a_set():
    sets = [found.layers for found in raise_layers([*NOISE], AdditiveNoise(NOISE), 30)]
    assert sets == [{"fc6", "conv2"}, {"fc6", "conv2", "conv1"}, {"fc6", "conv2", "conv1", "fc7"}]


def test_all_raised_is_offered_even_where_it_misses():
    floor = 1e-3  # the next precision is not exact either
    measure = AdditiveNoise(NOISE)

    def with_floor(raised: frozenset[str]) -> float:
        return -10 * math.log10(10 ** (-measure(raised) / 10) + floor)

    (found,) = raise_layers([*NOISE], with_floor, 50)
    assert found.layers == frozenset(NOISE)
    assert found.snr_db == pytest.approx(30)


def test_layers_that_overflow_are_found_though_raising_either_alone_changes_nothing():
    overflowing = {"conv2", "fc6"}

    def measure(raised: frozenset[str]) -> float:
        return 60.0 if overflowing <= raised else math.nan

    found = next(raise_layers(["conv1", "conv2", "fc6"], measure, 40))
    assert found.layers == overflowing
    assert [row.gain_db for row in found.rows] == [0.0, math.inf]


def test_a_network_without_layers_to_raise_is_measured_once():
    measure = AdditiveNoise({})
    assert [found.layers for found in raise_layers([], measure, 99)] == [frozenset()]
    assert len(measure.asked) == 1


@given(noises, st.floats(0, 90))
def test_as_few_layers_as_any_choice_needs(noise: dict[str, float], required: float):
    """With noise that adds up, no smaller set of layers would hold: every subset is tried."""
    measure = AdditiveNoise(noise)
    enough = [
        len(chosen)
        for size in range(len(noise) + 1)
        for chosen in itertools.combinations(noise, size)
        if measure(frozenset(chosen)) >= required
    ]
    found, _ = first(noise, required)
    assert len(found.layers) == enough[0]
    assert found.snr_db >= required


@given(noises, st.floats(0, 90))
def test_measurements_are_few_and_none_is_repeated(noise: dict[str, float], required: float):
    found, measure = first(noise, required)
    assert len(measure.asked) == len({*measure.asked})
    assert len(measure.asked) <= (1 + len(noise) + len(found.rows) if found.rows else 1)


@given(noises, st.floats(0, 90))
def test_gains_add_up_to_the_whole_improvement(noise: dict[str, float], required: float):
    found, measure = first(noise, required)
    if math.isfinite(found.snr_db):
        assert measure(frozenset()) + sum(row.gain_db for row in found.rows) == pytest.approx(found.snr_db)


def test_it_works_on_a_network_whose_noise_it_does_not_know():
    """Five matrix products in which values are rounded to a grid: the coarsest grid is raised, and then it holds."""
    random = np.random.default_rng(0)
    steps = {f"product{number}": step for number, step in enumerate((0.01, 0.3, 0.02, 0.01, 0.05))}
    weights = {name: random.standard_normal((64, 64)) / 8 for name in steps}
    clips = random.standard_normal((8, 64))

    def run(raised: frozenset[str]) -> np.ndarray:
        values = clips
        for name, weight in weights.items():
            values = values if name in raised else np.rint(values / steps[name]) * steps[name]
            values = values @ weight
        return values

    exact = run(frozenset(steps))

    def measure(raised: frozenset[str]) -> float:
        noise = np.linalg.norm(run(raised) - exact, axis=1)
        return float((20 * np.log10(np.linalg.norm(exact, axis=1) / np.maximum(noise, 1e-300))).min())

    assert measure(frozenset()) < 30
    found = next(raise_layers([*steps], measure, 30))
    assert [row.layer for row in found.rows] == ["product1"]
    assert measure(found.layers) == found.snr_db >= 30
