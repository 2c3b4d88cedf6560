"""What a set of comparisons proves."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import parity, small_models
from helpers.golden import known_golden, run_result
from helpers.graphs import graph, node
from helpers.parity import check
from numpy.typing import NDArray
from onnx import TensorProto, helper

from exporter.parity.evaluate import evaluate
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputSet
from exporter.results import ParityReport
from exporter.types import InputOptions, ParityOptions

NAN = np.nan


def verify(float64: NDArray[np.float64], float32: NDArray[np.float32], names: tuple[str, ...]) -> ParityReport:
    """Evaluate the float32 baseline itself, one row for each name of an input type."""
    golden = known_golden(float64, float32)
    renamed = GoldenOutputs(golden.source, InputSet(golden.inputs.feeds, names))
    renamed.compute(range(len(names)))
    batches = [((row,), float32[row : row + 1]) for row in range(len(names))]
    return evaluate(run_result(*batches), renamed, ParityOptions())


def test_an_output_that_is_meaningful_on_constants_only_fails() -> None:
    float64 = np.array([[NAN, NAN], [NAN, NAN], [1.0, 2.0], [3.0, 4.0]])
    report = verify(float64, float64.astype(np.float32), ("random", "saturated", "zeros", "constant"))
    assert {row.passed for row in report.comparisons} == {True}
    assert not report.passed
    assert any("only constant inputs" in note for note in report.notes)


def test_one_varied_input_with_finite_numbers_is_enough() -> None:
    float64 = np.array([[NAN, NAN], [5.0, 6.0], [1.0, 2.0]])
    assert verify(float64, float64.astype(np.float32), ("random", "saturated", "zeros")).passed


@pytest.mark.parametrize("value", [0.0, 7.5])
def test_an_output_that_ignores_the_input_passes_as_a_constant_and_says_so(value: float) -> None:
    float64 = np.full((3, 2), value)
    report = verify(float64, float64.astype(np.float32), ("random", "saturated", "zeros"))
    assert report.passed
    assert any("does not depend on the input" in note for note in report.notes)


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_an_output_that_is_never_finite_fails(value: float) -> None:
    float64 = np.full((3, 2), value)
    report = verify(float64, float64.astype(np.float32), ("random", "saturated", "zeros"))
    assert not report.passed
    assert any("so nothing is proved" in note for note in report.notes)


@pytest.mark.parametrize(("error", "passed"), [(0.0, True), (0.02, False)])
def test_an_artifact_as_near_to_float64_as_the_least_budget_proves_enough(error: float, *, passed: bool) -> None:
    """A float64 file whose numbers float32 does not hold: the baseline errs by 10 %, the artifact does not."""
    float64 = np.array([[5.0, 6.0], [1.0, 2.0], [7.0, 3.0]])
    golden = known_golden(float64, (1.1 * float64).astype(np.float32))
    artifact = (1 + error) * float64
    report = evaluate(run_result(*(((row,), artifact[row : row + 1]) for row in range(3))), golden, ParityOptions())
    assert {row.passed for row in report.comparisons} == {True}
    assert report.passed is passed


def test_a_constant_that_only_nan_agrees_on_proves_nothing() -> None:
    float64 = np.array([[1.0, 1.0], [1.0, 1.0], [NAN, NAN]])
    report = verify(float64, np.float32(0.5) * float64.astype(np.float32), ("random", "saturated", "nan"))
    assert {row.passed for row in report.comparisons} == {True}
    assert not report.passed
    assert any("no input gives a meaningful budget" in note for note in report.notes)


def test_an_output_that_varies_has_no_such_note() -> None:
    float64 = np.array([[5.0, 6.0], [1.0, 2.0], [0.0, 0.0]])
    report = verify(float64, float64.astype(np.float32), ("random", "saturated", "zeros"))
    assert not any("does not depend" in note for note in report.notes)


def test_a_baseline_with_large_errors_proves_nothing(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Add", ["x", "far"], ["away"]), helper.make_node("Sub", ["away", "far"], ["y"])]
    path = small_models.save(
        tmp_path / "lossy.onnx",
        nodes,
        [value("x", TensorProto.FLOAT, ["n", 4])],
        [value("y", TensorProto.FLOAT, ["n", 4])],
        {"far": np.array(1e9, np.float32)},
    )
    report = parity.verify(path, path, input_types=("random", "uniform"))
    assert not report.passed
    assert {row.passed for row in report.comparisons} == {True}
    notes = "; ".join(report.notes)
    assert "float32 lossy.onnx itself errs by more than 1% of the output on random, uniform" in notes
    assert "no input gives a meaningful budget for y" in notes


def test_an_output_that_the_user_s_inputs_make_empty_fails(tmp_path: Path) -> None:
    onnx.save(graph([node("Relu", "x", "y")], {"x": ("n", "m")}, {"y": ("n", "m")}, {}), path := tmp_path / "m.onnx")
    np.save(tmp_path / "none.npy", np.zeros((2, 0), np.float32))
    report = check(path, InputOptions(feeds={"x": tmp_path / "none.npy"}))
    assert not report.passed
    assert any("y is empty on every input, because x is" in note for note in report.notes)
