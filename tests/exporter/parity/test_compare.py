"""Comparisons of numbers small enough to check by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import small_models
from helpers.parity import verify
from numpy.typing import NDArray

from exporter.parity.compare import Expected, compare
from exporter.parity.tolerance import ERROR_FACTOR, MIN_BASELINE_ERROR, AllcloseTolerance, Float32RelativeTolerance
from exporter.results import Comparison

EXACT = np.array([[1.0, 3.0, 2.0], [4.0, -8.0, 3.999]])


def compare_float32(values: NDArray[Any], float64: NDArray[Any], float32: NDArray[Any]) -> Comparison:
    return compare("x", "logits", values, Expected(float64, float32), Float32RelativeTolerance("PyTorch float32"))


def compare_with_exact(values: NDArray[Any], float32_error: float = 1e-3) -> Comparison:
    """Compare values with EXACT, where the float32 baseline has one error, in the second row."""
    float32 = EXACT.astype(np.float32)
    float32[1, 1] += np.float32(float32_error)
    return compare_float32(values.astype(np.float32), EXACT, float32)


def test_errors_are_the_largest_and_the_mean_distance_from_float64() -> None:
    values = EXACT.copy()
    values[0, 0] += 0.25
    row = compare_with_exact(values)
    assert row.max_error == pytest.approx(0.25, rel=1e-6)
    assert row.mean_error == pytest.approx(0.25 / 3, rel=1e-5)
    assert row.float32_max_error < 1e-6  # only the other row has a baseline error
    assert row.batch == 2


@pytest.mark.parametrize(("error", "passed"), [(7.9e-3, True), (8.1e-3, False)])
def test_the_budget_is_eight_times_pytorchs_own_error(error: float, passed: bool) -> None:
    values = EXACT.copy()
    values[1, 1] -= error
    assert compare_with_exact(values).budget == pytest.approx(ERROR_FACTOR * 1e-3, rel=1e-3)
    assert compare_with_exact(values).passed is passed


def test_a_baseline_without_error_has_a_lower_bound() -> None:
    row = compare_float32(EXACT.astype(np.float32), EXACT, EXACT)
    assert row.float32_max_error == 0
    assert row.budget == ERROR_FACTOR * MIN_BASELINE_ERROR * 8
    assert row.passed


def test_infinities_of_a_float16_output_are_compared_as_others_are() -> None:
    float64 = np.array([[math.inf, 1.0, -math.inf]])
    assert compare_float32(float64.astype(np.float16), float64, float64.astype(np.float32)).passed
    assert not compare_float32(np.array([[1.0, 1.0, -np.inf]], np.float16), float64, float64.astype(np.float32)).passed


def test_top1_must_agree_where_the_margin_is_larger_than_the_budget() -> None:
    swapped = EXACT.copy()
    swapped[0] = [1.0, 2.5, 2.6]
    row = compare_with_exact(swapped, float32_error=0.05)  # within neither the budget of 0.4 nor the margin of 1
    assert (row.top1, row.passed) == ("differs", False)


def test_a_near_tie_is_a_tie_and_passes() -> None:
    near = EXACT.copy()
    near[1] = [3.9985, -8, 4.0]
    row = compare_with_exact(near)
    assert (row.top1, row.passed) == ("tie", True)


def test_features_have_no_top1() -> None:
    expected = Expected(EXACT, EXACT.astype(np.float32), ranked=False)
    assert compare("x", "fc6", EXACT, expected, Float32RelativeTolerance("PyTorch float32")).top1 is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_fails(value: float) -> None:
    values = EXACT.copy()
    values[0, 2] = value
    row = compare_with_exact(values)
    assert not row.passed
    assert row.max_error == math.inf


def test_nan_fails_where_the_baseline_is_infinite() -> None:
    exact = np.array([[1e39]])
    row = compare_float32(np.array([[np.nan]], np.float32), exact, np.array([[np.inf]], np.float32))
    assert not row.passed


def test_zeros_have_no_budget_and_need_none() -> None:
    zeros = np.zeros((1, 3))
    assert compare_float32(zeros, zeros, zeros.astype(np.float32)).passed
    assert compare_float32(zeros, zeros, zeros.astype(np.float32)).budget_used == 0
    off = compare_float32(zeros + 1e-9, zeros, zeros.astype(np.float32))
    assert (off.passed, off.budget_used) == (False, math.inf)


def test_every_item_has_its_own_budget() -> None:
    values = EXACT.copy()
    values[0, 0] += 1e-3  # within the other row's budget, a thousand times its own
    assert not compare_with_exact(values).passed


def test_nan_must_be_where_float32_has_it() -> None:
    exact = np.array([[np.nan, 1.0]])
    assert compare_float32(exact.astype(np.float32), exact, exact).passed
    assert not compare_float32(np.array([[0.0, 1.0]]), exact, exact).passed


@pytest.mark.parametrize(("error", "passed"), [(0.011, True), (0.013, False)])
def test_rtol_and_atol_take_precedence(error: float, passed: bool) -> None:
    values = EXACT.copy()
    values[0, 2] += error  # 2.0: 0.002 + 0.005 * 2 = 0.012
    row = compare("x", "fc6", values, Expected(EXACT, EXACT), AllcloseTolerance(0.005, 0.002))
    assert row.budget == pytest.approx(0.012)
    assert row.passed is passed


def test_another_shape_fails() -> None:
    assert not compare_with_exact(EXACT[:1]).passed


def test_cosine_is_that_of_the_worst_item() -> None:
    negated = EXACT.copy()
    negated[1] *= -1
    assert compare_with_exact(negated).cosine == pytest.approx(-1)
    assert compare_float32(np.zeros((1, 3)), np.zeros((1, 3)), np.zeros((1, 3), np.float32)).cosine == 1


def test_a_single_number_is_no_class() -> None:
    one = np.array([[2.0]])
    assert compare_float32(one, one, one.astype(np.float32)).top1 is None


def test_empty_outputs_of_one_shape_pass() -> None:
    empty = np.zeros((0, 4))
    assert compare_float32(empty, empty, empty).passed
    assert compare_float32(empty.T[None], empty.T[None], empty.T[None]).passed
    other = compare_float32(empty, np.zeros((0, 3)), np.zeros((0, 3)))
    assert (other.passed, other.max_error, other.budget_used) == (False, math.inf, math.inf)


def test_the_distance_from_the_other_file_is_that_of_their_values() -> None:
    float32, float64 = EXACT.astype(np.float32), EXACT
    tolerance = Float32RelativeTolerance("PyTorch float32")
    near = compare("x", "y", EXACT, Expected(float64, float32, against=EXACT + 0.25), tolerance)
    assert near.max_abs_diff == pytest.approx(0.25)
    assert compare("x", "y", EXACT, Expected(float64, float32, against=EXACT), tolerance).max_abs_diff == 0


def test_both_parts_of_complex_numbers_count() -> None:
    exact = np.array([[1 + 2j, 3 - 4j]])
    assert compare_float32(exact.astype(np.complex64), exact, exact.astype(np.complex64)).passed
    assert not compare_float32(exact + 0.1j, exact, exact.astype(np.complex64)).passed


def test_a_number_of_rows_that_float32_decides_otherwise_must_be_that_of_one_reference() -> None:
    for values, passed in ((EXACT, True), (EXACT[:1], True), (EXACT[:1] + 0.1, False), (EXACT[:, :2], False)):
        assert compare_float32(values, EXACT, EXACT[:1].astype(np.float32)).passed is passed


@pytest.mark.parametrize(("value", "passed"), [(1e40, True), (np.inf, True), (1.1e40, False), (-np.inf, False)])
def test_where_float32_overflows_a_wider_program_may_be_right(value: float, passed: bool) -> None:
    exact = np.array([[1e40, 1.0]])
    row = compare_float32(np.array([[value, 1.0]]), exact, np.array([[np.inf, 1.0]], np.float32))
    assert row.passed is passed


def test_a_near_tie_is_reported_as_a_tie(theirs: Path, tmp_path: Path) -> None:
    def tied(first: float, second: float) -> Path:
        def change(values: small_models.Weights) -> None:
            values["w3"][:] = 0
            values["b3"][:] = np.array([first, second, 0, 0, 0, 0, 0], np.float32)

        return small_models.network(tmp_path / f"{first}.onnx", change=change)

    above = float(np.nextafter(np.float32(1), np.float32(2)))
    report = verify(tied(1, above), tied(above, 1), input_types=("random",))
    assert [(row.top1, row.passed) for row in report.comparisons] == [("tie", True)]


@pytest.mark.parametrize(
    ("exact", "values", "expected"),
    [
        ([0.375, 0.5], [0.375, 0.50625], 40.0),  # 0.625 over 0.00625
        ([1.0, 0.0], [0.0, 0.0], 0.0),
        ([0.375, 0.5], [0.375, 0.5], math.inf),
        ([0.0, 0.0], [0.5, 0.0], -math.inf),
    ],
)
def test_the_signal_to_noise_ratio_is_stated_in_decibels(
    exact: list[float], values: list[float], expected: float
) -> None:
    float64 = np.array([exact])
    row = compare_float32(np.array([values]), float64, float64.astype(np.float32))
    assert row.snr_db == pytest.approx(expected, abs=1e-9)
