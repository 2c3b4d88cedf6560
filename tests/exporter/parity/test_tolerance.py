"""Tolerances, with budgets computed by hand."""

import math

import numpy as np
import pytest

from exporter.parity.compare import Expected, compare
from exporter.parity.tolerance import SNR_TOLERANCES, AllcloseTolerance, Float32RelativeTolerance, select_tolerance
from exporter.results import Precision
from exporter.types import ParityOptions

EXACT = np.array([[3.0, -4.0, 0.0, 5.0]])  # its root mean square is sqrt(12.5)


@pytest.mark.parametrize(("precision", "minimum"), [("float16", 45), ("bfloat16", 28), ("int8", 15)])
def test_the_signal_to_noise_ratio_decides(precision: Precision, minimum: float) -> None:
    tolerance = SNR_TOLERANCES[precision]
    for decibels, passed in ((minimum + 0.1, True), (minimum - 0.1, False)):
        noise = math.sqrt(50) * 10 ** (-decibels / 20)
        values = EXACT + np.array([[noise, 0, 0, 0]])
        row = compare("x", "fc6", values, Expected(EXACT, EXACT.astype(np.float32)), tolerance)
        assert row.snr_db == pytest.approx(decibels)
        assert row.passed is passed
        assert row.budget_used == pytest.approx(10 ** ((minimum - decibels) / 20))
    assert f"{precision}: signal to noise at least {minimum} dB on every input" in tolerance.description


def test_the_stated_cosine_follows_from_the_ratio() -> None:
    for tolerance in SNR_TOLERANCES.values():
        stated = float(tolerance.description.split("cosine at least ")[1].split(")")[0])
        ratio = 10 ** (-tolerance.min_snr_db / 20)  # noise at right angles to the signal changes the angle most
        assert stated <= 1 / math.hypot(1, ratio) + 1e-6


def test_the_tolerance_is_selected_by_options_and_precision() -> None:
    assert select_tolerance("float32", ParityOptions(), "PyTorch float32") == Float32RelativeTolerance(
        "PyTorch float32"
    )
    assert select_tolerance("float64", ParityOptions(), "it") == Float32RelativeTolerance("it")
    assert select_tolerance("int8", ParityOptions(), "it") is SNR_TOLERANCES["int8"]
    assert select_tolerance("int8", ParityOptions(atol=0.5), "it") == AllcloseTolerance(0, 0.5)


def test_zeros_have_no_budget() -> None:
    zeros = np.zeros((1, 4))
    assert compare("z", "fc6", zeros, Expected(zeros, zeros), SNR_TOLERANCES["int8"]).passed
    assert not compare("z", "fc6", zeros + 1e-3, Expected(zeros, zeros), SNR_TOLERANCES["int8"]).passed


@pytest.mark.parametrize("fill", [-65504.0, -1e9, float(np.finfo(np.float32).min)])
def test_a_masked_place_hides_no_error_of_the_others(fill: float) -> None:
    exact = np.array([[0.25, -1.0, fill, 0.5, fill + 0.5]])
    expected = Expected(exact, exact.astype(np.float32))
    tolerance = Float32RelativeTolerance("float32")
    assert compare("x", "y", exact.astype(np.float32), expected, tolerance).passed
    assert not compare("x", "y", exact + np.array([[0, 1e-4, 0, 0, 0]]), expected, tolerance).passed
    beside = tolerance.allowed(exact[0].astype(np.float32).astype(np.float64), exact[0])
    alone = tolerance.allowed(*(np.array([0.25, -1.0, 0.5]) for _ in range(2)))
    np.testing.assert_array_equal(beside[[0, 1, 3]], alone)


def test_a_number_of_ordinary_size_masks_nothing() -> None:
    tolerance = Float32RelativeTolerance("float32")
    for exact in (np.array([1.0, 1e-12, 1e-9]), np.array([30000.0, 20000.0, 1.0]), np.array([1e9, 0.0, 0.0])):
        assert len(set(tolerance.allowed(exact, exact).tolist())) == 1
