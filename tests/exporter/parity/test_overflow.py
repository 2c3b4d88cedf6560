"""Where a file overflows by itself, an artifact of it may; elsewhere it may not."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import parity
from helpers.graphs import graph, make_model, node, save
from onnx import NodeProto, TensorProto, helper

from exporter.parity.compare import Expected, compare
from exporter.parity.overflow import compare_beyond_range
from exporter.parity.tolerance import Float32RelativeTolerance
from exporter.results import ParityReport

LARGE, SMALL = 400.0, 0.5
"""Squares of saturated pixels (255) times these: beyond float16's 65504, and within it."""


def squares(path: Path, factor: float) -> Path:
    """Write a float16 network: (x * factor)^2 + x."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, ["n", 8]) for name in ("x", "y")]
    nodes = [node("Mul", "x f", "a"), node("Mul", "a a", "b"), node("Add", "b x", "y")]
    weights = {"f": np.full(8, factor, np.float16)}
    onnx.save(make_model(nodes, ports[:1], ports[1:], weights, 18), path)
    return path


def verify(mine: Path, theirs: Path) -> ParityReport:
    return parity.verify(mine, theirs, input_types=("uniform", "saturated", "zeros"))


def test_a_float16_file_that_overflows_on_large_inputs_passes_against_itself_and_says_so(tmp_path: Path) -> None:
    theirs = squares(tmp_path / "theirs.onnx", LARGE / 2)
    report = verify(theirs, theirs)
    assert report.passed
    assert any(note.startswith("float16 overflows on") and "saturated" in note for note in report.notes)


def test_an_overflow_that_the_reference_file_does_not_have_fails(tmp_path: Path) -> None:
    theirs, mine = squares(tmp_path / "theirs.onnx", SMALL), squares(tmp_path / "mine.onnx", LARGE)
    report = verify(mine, theirs)
    assert not report.passed
    assert [row.passed for row in report.comparisons if row.input == "saturated"] == [False]


def logarithms(path: Path, *nodes: NodeProto) -> Path:
    """Write a float64 network of (n, 8) to (n, 1): onnxruntime computes ReduceLogSumExp of opset 28 as log(sum(exp))."""
    ports = [
        helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["n", size]) for name, size in (("x", 8), ("y", 1))
    ]
    onnx.save(make_model(list(nodes), ports[:1], ports[1:], {"near": np.array(1.001), "a": np.array([1])}, 28), path)
    return path


LOGARITHM = node("ReduceLogSumExp", "x a", "y")
STABLE = (
    *(node("ReduceMax", "x a", "m"), node("Sub", "x m", "d"), node("ReduceLogSumExp", "d a", "l")),
    node("Add", "l m", "y"),
)
"""The same without overflow."""
FINITE_AND_NOT = ("random", "uniform", "large")


def test_a_float64_file_that_overflows_in_its_engine_passes_against_itself_and_says_so(tmp_path: Path) -> None:
    theirs = logarithms(tmp_path / "theirs.onnx", LOGARITHM)
    report = parity.verify(theirs, theirs, input_types=FINITE_AND_NOT)
    assert report.passed
    assert any(note.startswith("float64 overflows on") and "large" in note for note in report.notes)


def test_a_float64_artifact_that_does_not_overflow_where_the_file_does_passes(tmp_path: Path) -> None:
    theirs, mine = logarithms(tmp_path / "theirs.onnx", LOGARITHM), logarithms(tmp_path / "mine.onnx", *STABLE)
    assert parity.verify(mine, theirs, input_types=FINITE_AND_NOT).passed


def test_a_float64_artifact_that_overflows_where_the_file_does_not_fails(tmp_path: Path) -> None:
    theirs, mine = logarithms(tmp_path / "theirs.onnx", *STABLE), logarithms(tmp_path / "mine.onnx", LOGARITHM)
    report = parity.verify(mine, theirs, input_types=FINITE_AND_NOT)
    assert {row.input for row in report.comparisons if not row.passed} == {"large"}


def test_another_number_in_the_operator_that_overflows_is_found(tmp_path: Path) -> None:
    theirs = logarithms(tmp_path / "theirs.onnx", LOGARITHM)
    scaled = (node("Mul", "x near", "s"), node("ReduceLogSumExp", "s a", "y"))
    report = parity.verify(logarithms(tmp_path / "mine.onnx", *scaled), theirs, input_types=FINITE_AND_NOT)
    assert {"random", "uniform"} <= {row.input for row in report.comparisons if not row.passed}


def pooled(path: Path, factor: float) -> Path:
    """Write a network with a part in float16: of large pixels float32 makes a NaN, which onnxruntime's pool drops."""
    nodes = [
        node("Mul", "x k", "s"),
        node("Exp", "s", "e"),
        node("Mul", "e f", "m"),
        node("Sub", "e m", "d"),
        node("MaxPool", "d", "y", kernel_shape=[2, 3], pads=[1, 1, 1, 1], strides=[2, 1]),
        node("Cast", "x", "h", to=TensorProto.FLOAT16),
        node("Reshape", "h shape", "r"),
        node("Cast", "r", "z", to=TensorProto.FLOAT),
    ]
    numbers = {"k": np.array(0.5, np.float32), "f": np.array(factor, np.float32), "shape": np.array([-1, 2, 4, 4])}
    return save(path, graph(nodes, {"x": ("n", 2, 4, 4)}, {"y": ("n", 2, 3, 4), "z": ("n", 2, 4, 4)}, numbers, 18))


def test_a_file_that_drops_the_nan_of_float32_passes_against_itself_and_a_fault_fails(tmp_path: Path) -> None:
    theirs, mine = pooled(tmp_path / "theirs.onnx", 0.5), pooled(tmp_path / "mine.onnx", 0.6)
    types = ("random", "uniform", "saturated")
    report = parity.verify(theirs, theirs, input_types=types)
    assert report.passed
    assert {row.output for row in report.comparisons if row.own_error} == {"y"}
    failed = [row for row in parity.verify(mine, theirs, input_types=types).comparisons if not row.passed]
    assert {"random", "uniform"} <= {row.input for row in failed}


def squared(path: Path, *, images: bool, factor: float = 1.0) -> Path:
    """Write a convolution of x^2, a max pool and scales, one of them zero; of large numbers float32 makes NaN.

    onnxruntime's pool of volumes drops a NaN, and that of images keeps it.
    """
    kernel = np.array([1.0, -0.5], np.float32).reshape(1, 1, 1, 2, 1) * np.float32(factor)
    nodes = [
        *(node("Mul", "x x", "s"), node("Conv", "s w", "c"), node("MaxPool", "c", "p", kernel_shape=[1, 1, 2])),
        node("Mul", "p g", "y"),
    ]
    numbers = {"w": kernel, "g": np.array([1, 0, 2], np.float32)}
    if images:
        nodes = [
            *(node("Mul", "x x", "s"), node("Squeeze", "s depth", "i"), node("Conv", "i w", "c")),
            *(
                node("MaxPool", "c", "p", kernel_shape=[1, 2]),
                node("Unsqueeze", "p depth", "v"),
                node("Mul", "v g", "y"),
            ),
        ]
        numbers |= {"w": kernel[:, :, 0], "depth": np.array([2])}
    return save(path, graph(nodes, {"x": ("n", 1, 1, 3, 4)}, {"y": ("n", 1, 1, 2, 3)}, numbers, 18))


def test_nan_of_an_artifact_is_not_compared_where_the_reference_is_beyond_float32(tmp_path: Path) -> None:
    theirs, mine = tmp_path / "theirs.onnx", tmp_path / "mine.onnx"
    squared(theirs, images=False)
    report = parity.verify(squared(mine, images=True), theirs, input_types=FINITE_AND_NOT)
    assert report.passed
    assert [row.input for row in report.comparisons if row.beyond_range] == ["large"]
    assert any("NaN and infinities are not compared on large" in note for note in report.notes)
    faulty = parity.verify(squared(mine, images=True, factor=1.01), theirs, input_types=FINITE_AND_NOT)
    assert {"random", "uniform"} <= {row.input for row in faulty.comparisons if not row.passed}


@pytest.mark.parametrize("fault", [0.0, 0.5])
def test_only_nan_and_infinities_of_the_item_beyond_float32_are_not_compared(fault: float) -> None:
    """Items: within float32's range, and with one number beyond it. Of the second NaN passes, a wrong number does not."""
    exact = np.array([[1, 2, 3], [1, 2, 1e40]])
    with np.errstate(over="ignore"):
        expected = Expected(exact, exact.astype(np.float32))
    tolerance = Float32RelativeTolerance("float32")
    for item, values in ((1, [[1, 2, 3], [np.nan, 2 + fault, np.nan]]), (0, [[1, np.nan, 3], [1, 2, np.inf]])):
        given = np.array(values, np.float32)
        failed = compare("x", "y", given, expected, tolerance)
        assert not failed.passed
        found = compare_beyond_range(failed, given, expected, tolerance)
        assert (found.passed, found.beyond_range) == ((True, True) if item and not fault else (False, False))


@pytest.mark.parametrize(
    ("scale", "at", "passed"), [(1.0, 2, True), (-1.0, 2, True), (0.99, 2, False), (1.0, 1, False)]
)
def test_the_start_value_of_a_max_pool_is_not_compared_where_the_reference_overflows(
    scale: float, at: int, *, passed: bool
) -> None:
    exact = np.array([[1, 2, 1e40]])
    expected = Expected(exact, np.array([[1, 2, np.nan]], np.float32))
    given = np.array([[np.nan, 2, np.inf]], np.float32)
    given[0, at] = -scale * np.finfo(np.float32).max
    tolerance = Float32RelativeTolerance("float32")
    found = compare_beyond_range(compare("x", "y", given, expected, tolerance), given, expected, tolerance)
    assert (found.passed, found.beyond_range) == (passed, passed)


def test_nan_on_all_that_could_prove_something_fails(tmp_path: Path) -> None:
    theirs, mine = squared(tmp_path / "t.onnx", images=False), squared(tmp_path / "m.onnx", images=True)
    report = parity.verify(mine, theirs, input_types=("large", "zeros"))
    assert any(row.beyond_range for row in report.comparisons)
    assert not report.passed


def test_numbers_beside_an_overflow_are_no_evidence_where_nan_is_not_compared(tmp_path: Path) -> None:
    """Of large inputs x^2 overflows and x^2 k does not: NaN takes the place of infinities, the rest agrees."""
    ports, numbers = ({"x": ("n", 8)}, {"y": ("n", 8)}), {"k": np.array(1e-30, np.float32)}
    square = [node("Mul", "x x", "s"), node("Mul", "s k", "y")]
    theirs = save(tmp_path / "theirs.onnx", graph(square, *ports, numbers))
    other = [node("Mul", "x x", "s"), node("Sub", "s s", "o"), node("Add", "s o", "t"), node("Mul", "t k", "y")]
    mine = save(tmp_path / "mine.onnx", graph(other, *ports, numbers))
    assert parity.verify(mine, theirs, input_types=FINITE_AND_NOT).passed
    report = parity.verify(mine, theirs, input_types=("large", "zeros"))
    assert [row.passed for row in report.comparisons if row.beyond_range] == [True]
    assert not report.passed


def test_nan_where_the_reference_is_within_float32_fails(tmp_path: Path) -> None:
    theirs, mine = tmp_path / "theirs.onnx", tmp_path / "mine.onnx"
    nodes = [node("Clip", "x low high", "y")]
    limits = {"low": np.array(-9, np.float32), "high": np.array(9, np.float32)}
    ports = {"x": ("n", 4)}, {"y": ("n", 4)}
    save(theirs, graph(nodes, *ports, limits))
    detour = [
        node("Mul", "x x", "s"),
        node("Sub", "s s", "o"),
        node("Add", "x o", "d"),
        node("Clip", "d low high", "y"),
    ]
    save(mine, graph(detour, *ports, limits))
    failed = {
        row.input for row in parity.verify(mine, theirs, input_types=FINITE_AND_NOT).comparisons if not row.passed
    }
    assert failed == {"large"}


def test_a_tolerance_of_the_user_also_counts_beyond_float32(tmp_path: Path) -> None:
    theirs, mine = squared(tmp_path / "t.onnx", images=False), squared(tmp_path / "m.onnx", images=True)
    report = parity.verify(mine, theirs, input_types=FINITE_AND_NOT, rtol=1e-3, atol=1e-3)
    assert {row.input for row in report.comparisons if not row.passed} == {"large"}


def test_a_fault_beside_infinities_fails_without_a_warning(tmp_path: Path) -> None:
    nodes, ports = [node("Mul", "x w", "p"), node("Add", "p c", "y")], ({"x": ("n", 2)}, {"y": ("n", 2)})
    for name, weight in (("theirs", 1.5), ("mine", 1.51)):
        weights = {"w": np.array(weight, np.float32), "c": np.array([0, np.inf], np.float32)}
        save(tmp_path / f"{name}.onnx", graph(nodes, *ports, weights))
    assert not parity.verify(tmp_path / "mine.onnx", tmp_path / "theirs.onnx", input_types=("random",)).passed


def test_a_fault_of_a_float16_file_beside_an_output_of_booleans_fails(tmp_path: Path) -> None:
    """Other pairs of outputs are tried then: numbers of one, booleans of the other."""
    for name, factor in (("theirs", 0.5), ("mine", 2)):
        x, y = (helper.make_tensor_value_info(port, TensorProto.FLOAT16, ["n", 8]) for port in ("x", "y"))
        b = helper.make_tensor_value_info("b", TensorProto.BOOL, ["n", 8])
        nodes = [node("Mul", "x f", "y"), node("Greater", "x f", "b")]
        weights = {"f": np.full(8, factor, np.float16)}
        onnx.save(make_model(nodes, [x], [y, b], weights, 18), tmp_path / f"{name}.onnx")
    assert not verify(tmp_path / "mine.onnx", tmp_path / "theirs.onnx").passed
