"""The rule of the verdict, on numbers small enough to check by hand."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.parity.compare import Expected
from exporter.parity.compare import compare as compare_by
from exporter.parity.tolerance import ERROR_FACTOR, MIN_BASELINE_ERROR, AllcloseTolerance, Float32RelativeTolerance
from exporter.results import Comparison

EXACT = np.array([[1.0, 3.0, 2.0], [4.0, -8.0, 3.999]])


def compare(name: str, output: str, answer: NDArray[Any], exact: NDArray[Any], single: NDArray[Any]) -> Comparison:
    return compare_by(name, output, answer, Expected(exact, single), Float32RelativeTolerance("PyTorch float32"))


def judged(answer: NDArray[Any], torch_error: float = 1e-3, output: str = "logits"):
    torch32 = EXACT.astype(np.float32)
    torch32[1, 1] += np.float32(torch_error)
    return compare("random", output, answer.astype(np.float32), EXACT, torch32)


def test_errors_are_the_largest_and_the_mean_distance_from_float64() -> None:
    answer = EXACT.copy()
    answer[0, 0] += 0.25
    row = judged(answer)
    assert row.max_error == pytest.approx(0.25, rel=1e-6)
    assert row.mean_error == pytest.approx(0.25 / 3, rel=1e-5)
    assert row.float32_max_error < 1e-6  # the other row alone has an error of its own
    assert row.batch == 2


@pytest.mark.parametrize(("error", "passed"), [(7.9e-3, True), (8.1e-3, False)])
def test_the_budget_is_eight_times_pytorchs_own_error(error: float, passed: bool) -> None:
    answer = EXACT.copy()
    answer[1, 1] -= error
    assert judged(answer).budget == pytest.approx(ERROR_FACTOR * 1e-3, rel=1e-3)
    assert judged(answer).passed is passed


def test_a_lucky_pytorch_leaves_a_floor() -> None:
    row = compare("x", "fc6", EXACT.astype(np.float32), EXACT, EXACT.astype(np.float32) * 0 + EXACT)  # pyright: ignore
    assert row.float32_max_error == 0
    assert row.budget == ERROR_FACTOR * MIN_BASELINE_ERROR * 8
    assert row.passed


def test_top1_must_agree_where_the_margin_is_larger_than_the_budget() -> None:
    swapped = EXACT.copy()
    swapped[0] = [1.0, 2.5, 2.6]
    row = judged(swapped, torch_error=0.05)  # within neither the budget of 0.4 nor the margin of 1
    assert (row.top1, row.passed) == ("differs", False)


def test_a_near_tie_is_told_as_one_and_passes() -> None:
    near = EXACT.copy()
    near[1] = [3.9985, -8, 4.0]
    row = judged(near)
    assert (row.top1, row.passed) == ("tie", True)


def test_features_have_no_top1() -> None:
    assert judged(EXACT, output="fc6").top1 is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_fails(value: float) -> None:
    answer = EXACT.copy()
    answer[0, 2] = value
    row = judged(answer)
    assert not row.passed
    assert row.max_error == math.inf


def test_an_unsound_answer_fails_even_where_pytorch_overflows() -> None:
    exact = np.array([[1e39]])
    row = compare("x", "fc6", np.array([[np.nan]], np.float32), exact, np.array([[np.inf]], np.float32))
    assert not row.passed


def test_zeros_leave_no_budget_and_need_none() -> None:
    zeros = np.zeros((1, 3))
    assert compare("z", "fc6", zeros, zeros, zeros.astype(np.float32)).passed
    assert compare("z", "fc6", zeros, zeros, zeros.astype(np.float32)).budget_used == 0
    off = compare("z", "fc6", zeros + 1e-9, zeros, zeros.astype(np.float32))
    assert (off.passed, off.budget_used) == (False, math.inf)


def test_a_row_is_judged_by_its_own_budget() -> None:
    answer = EXACT.copy()
    answer[0, 0] += 1e-3  # within the other row's budget, a thousand times its own
    assert not judged(answer).passed


def test_nan_must_stand_where_float32_has_it() -> None:
    exact = np.array([[np.nan, 1.0]])
    assert compare("nan", "fc6", exact.astype(np.float32), exact, exact).passed
    assert not compare("nan", "fc6", np.array([[0.0, 1.0]]), exact, exact).passed


@pytest.mark.parametrize(("error", "passed"), [(0.011, True), (0.013, False)])
def test_rtol_and_atol_overrule(error: float, passed: bool) -> None:
    answer = EXACT.copy()
    answer[0, 2] += error  # 2.0: 0.002 + 0.005 * 2 = 0.012
    row = compare_by("x", "fc6", answer, Expected(EXACT, EXACT), AllcloseTolerance(0.005, 0.002))
    assert row.budget == pytest.approx(0.012)
    assert row.passed is passed


def test_another_shape_fails() -> None:
    assert not judged(EXACT[:1]).passed


def test_cosine_is_the_worst_rows() -> None:
    turned = EXACT.copy()
    turned[1] *= -1
    assert judged(turned).cosine == pytest.approx(-1)
    assert compare("z", "fc6", np.zeros((1, 3)), np.zeros((1, 3)), np.zeros((1, 3), np.float32)).cosine == 1


def test_one_class_has_no_margin() -> None:
    one = np.array([[2.0]])
    assert compare("x", "logits", one, one, one.astype(np.float32)).top1 == "same"
