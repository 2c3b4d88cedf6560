"""Labels, masks, indices and strings are compared element by element; differences need a reason."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import small_models
from helpers.parity import FEW, verify
from numpy.typing import NDArray
from onnx import TensorProto, helper

from exporter.parity.discrete import NearTies, compare_discrete
from exporter.parity.tolerance import SNR_TOLERANCES, AllcloseTolerance, Float32RelativeTolerance, Tolerance
from exporter.results import Comparison

Array = NDArray[Any]
FLOAT32 = Float32RelativeTolerance("float32")
LABELS = np.array([3, 1, 4, 1, 5, 9, 2, 6])


class Ties:
    """The elements at some positions may have one other value."""

    def __init__(self, other: dict[int, int]) -> None:
        self.other = other

    def accepts(self, positions: NDArray[np.intp], candidates: Array) -> NDArray[np.bool_]:
        found = zip(positions.tolist(), candidates.tolist(), strict=True)
        return np.array([self.other.get(position) == value for position, value in found], bool)

    def uncertain(self, size: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        return np.isin(np.arange(size), [*self.other]), np.arange(size) < size // 2


def check(
    values: Array,
    float64: Array = LABELS,
    float32: Array | None = None,
    ties: NearTies | None = None,
    tolerance: Tolerance = FLOAT32,
) -> Comparison:
    reference = (float64, float64 if float32 is None else float32)
    return compare_discrete("random", "y", values, reference, (ties,), tolerance)


def changed(position: int, value: int, labels: Array = LABELS) -> Array:
    return np.where(np.arange(labels.size) == position, value, labels)


def test_equal_labels_pass_in_any_integer_dtype() -> None:
    row = check(LABELS.astype(np.int32))
    assert (row.passed, row.equal, row.budget_used, row.max_error) == (True, 1.0, 0.0, 0.0)
    assert math.isnan(row.cosine)


def test_one_label_without_a_reason_fails() -> None:
    row = check(changed(2, 7))
    assert (row.passed, row.equal, row.budget) == (False, 0.875, 0.0)
    assert row.budget_used > 1


def test_a_near_tie_may_only_become_what_it_is_near_to() -> None:
    ties = Ties({2: 7, 3: 0})
    row = check(changed(2, 7), ties=ties)
    assert (row.passed, row.equal, row.budget, row.budget_used) == (True, 0.875, 0.25, 0.5)
    assert row.near_ties == 0.5  # of the four elements that depend on rounded numbers
    assert not check(changed(2, 8), ties=ties).passed
    assert not check(changed(1, 7), ties=ties).passed


def test_labels_that_float32_flips_are_no_budget_for_others() -> None:
    float32 = changed(0, 8)
    assert check(float32, float32=float32).passed
    assert check(LABELS, float32=float32).passed
    assert not check(changed(1, 8), float32=float32).passed
    assert not check(changed(0, 7), float32=float32).passed


def test_each_row_of_a_batch_has_its_own_near_ties() -> None:
    labels = np.array([[1, 2], [3, 4]])
    values = np.array([[1, 2], [3, 5]])
    for ties, passed in (((None, Ties({1: 5})), True), ((Ties({1: 5}), None), False)):
        row = compare_discrete("random", "y", values, (labels, labels), ties, FLOAT32)
        assert (row.passed, row.batch, row.equal) == (passed, 2, 0.5)


def test_strings_and_booleans_are_compared() -> None:
    words = np.array(["cat", "dog"], object)
    assert check(words.copy(), words).passed
    assert not check(np.array(["cat", "cow"], object), words).passed
    assert check(np.array([True, False]), np.array([True, False])).equal == 1


def test_another_number_of_elements_must_be_one_of_the_two_references() -> None:
    float32 = LABELS[:5]
    assert check(LABELS, float32=float32).passed
    assert check(float32, float32=float32).passed
    assert not check(changed(1, 8), float32=float32).passed
    row = check(LABELS[:4], float32=float32)
    assert (row.passed, row.budget_used, row.equal, row.max_error) == (False, math.inf, 0, 1)


def test_one_label_of_a_whole_batch_is_compared() -> None:
    label = np.array(3)
    for value, passed in ((3, True), (4, False)):
        for rows in (1, 2):
            row = compare_discrete("random", "y", np.array(value), (label, label), (None,) * rows, FLOAT32)
            assert (row.passed, row.batch, row.equal) == (passed, rows, int(passed))


def test_empty_outputs_are_equal() -> None:
    empty = np.zeros((1, 0), np.int64)
    assert check(empty, empty).passed


def test_an_absolute_tolerance_in_whole_units_is_the_users_own() -> None:
    pixels = np.array([10, 200, 30], np.uint8)
    values = np.array([11, 199, 30], np.uint8)
    assert check(values, pixels, tolerance=AllcloseTolerance(0, 1)).passed
    assert not check(values, pixels, tolerance=AllcloseTolerance(0.5, 0)).passed  # labels have no relative error


def test_below_float32_the_row_reports_and_the_share_over_all_inputs_decides() -> None:
    row = check(changed(2, 7), tolerance=SNR_TOLERANCES["float16"])
    assert (row.passed, row.equal, row.budget_used) == (True, 0.875, 0.125)


def test_below_float32_a_label_that_is_followed_must_be_a_near_tie_too() -> None:
    """The largest noise that passes decides which are; a wrong label in a thousand passed."""
    for value, passed in ((7, True), (8, False)):
        row = check(changed(2, value), ties=Ties({2: 7}), tolerance=SNR_TOLERANCES["float16"])
        assert (row.passed, row.equal) == (passed, 0.875)


@pytest.mark.parametrize(("value", "passed"), [(2.0, True), (2.0 + 1e-6, True), (2.01, False), (np.nan, False)])
def test_decided_floats_are_equal_up_to_rounding(value: float, passed: bool) -> None:
    floats = np.array([1.0, 2.0, np.inf])
    assert check(np.array([1.0, value, np.inf], np.float32), floats).passed is passed


def test_a_float_that_the_reference_has_too_needs_no_decision() -> None:
    """It is neither the baseline's nor, to the last bit, the reference's; the decisions permit the reference's only."""
    floats, float32 = np.array([1.0, 2.0, np.inf]), np.array([1.0, 2.5, np.inf], np.float32)
    values = np.array([1.0, 2.0 + 1e-6, np.inf], np.float32)
    assert check(values, floats, float32, Ties({1: 2})).passed


def test_a_float_of_the_baseline_s_is_permitted_as_it_is_and_not_near_it() -> None:
    floats, float32 = np.array([1.0, 2.0, 8.0]), np.array([1.0, 2.5, 8.0], np.float32)
    assert check(float32, floats, float32).passed
    assert not check(np.array([1.0, 2.5 + 1e-6, 8.0], np.float32), floats, float32).passed


def test_a_small_float_beside_large_ones_is_what_the_decisions_permit_where_they_are_known() -> None:
    """Its error is within the rounding of the largest one; decisions that do not permit the reference are not known."""
    floats, values = np.array([1.0, 1e7]), np.array([1.001, 1e7], np.float32)
    assert check(values, floats).passed
    assert check(values, floats, ties=Ties({})).passed
    assert not check(values, floats, ties=Ties({0: 1})).passed


def test_strings_are_compared(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    paths = [
        small_models.save(
            tmp_path / f"{''.join(words)}.onnx",
            [
                helper.make_node("ArgMax", ["x"], ["index"], axis=1, keepdims=0),
                helper.make_node("Gather", ["words", "index"], ["y"]),
            ],
            [value("x", TensorProto.FLOAT, ["n", 2])],
            [value("y", TensorProto.STRING, ["n"])],
            {"words": np.array([word.encode() for word in words], dtype=object)},
        )
        for words in (("cat", "dog"), ("dog", "cat"))
    ]
    assert verify(paths[0], paths[0], input_types=FEW).passed
    report = verify(paths[1], paths[0], input_types=FEW)
    assert {row.equal for row in report.comparisons if row.input == "random"} == {0}
