"""Where a file overflows by itself, an artifact of it may; elsewhere it may not."""

from pathlib import Path

import numpy as np
import onnx
from helpers import parity
from helpers.graphs import graph, make_model, node, save
from onnx import NodeProto, TensorProto, helper

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
