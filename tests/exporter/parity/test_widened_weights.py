"""A weight in half precision loosens the tolerance only where the reference holds other numbers."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import parity
from helpers.graphs import graph, node, normal, save
from onnx import TensorProto, numpy_helper

from exporter.onnx_io.precision import detect_precision
from exporter.onnx_io.stored_weights import widened_weights

TYPES = ("random", "uniform", "large")
TABLE = normal(8, 8, seed=3).astype(np.float16)


def layers(path: Path, table: np.ndarray, factor: float = 1.0, data: str | None = None) -> Path:
    """Write y = (x w) * factor + x t, with t cast to float32 where it is stored in half precision."""
    half = table.dtype != np.float32
    cast = [node("Cast", "t", "wide", to=TensorProto.FLOAT)] if half else []
    nodes = [
        *cast,
        node("MatMul", "x w", "a"),
        node("MatMul", "x wide" if half else "x t", "b"),
        node("Add", "a b", "y"),
    ]
    weights = {"w": normal(8, 8) * np.float32(factor), "t": table}
    return save(path, graph(nodes, {"x": ("n", 8)}, {"y": ("n", 8)}, weights), data)


def constant(path: Path, factor: float = 1.0) -> Path:
    """Write the same with the table in a Constant node."""
    model = onnx.load(layers(path, TABLE, factor))
    (held,) = (tensor for tensor in model.graph.initializer if tensor.name == "t")
    value = numpy_helper.from_array(numpy_helper.to_array(held))
    model.graph.initializer.remove(held)
    model.graph.node.insert(0, node("Constant", "", "t", value=value))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("data", [None, "weights.bin"])
def test_a_fault_elsewhere_is_not_covered_by_a_table_that_both_files_have(data: str | None, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    theirs = layers(tmp_path / "theirs.onnx", TABLE, data=data)
    report = parity.verify(theirs, theirs, input_types=TYPES)
    assert report.passed
    assert report.tolerance == "within 8 times float32 theirs.onnx's own error"
    assert {row.input for row in report.comparisons} == {*TYPES, "random + uniform"}
    faulty = layers(tmp_path / "mine" / "m.onnx", TABLE, 1.0001, data=data)
    assert not parity.verify(faulty, theirs, input_types=TYPES).passed


def test_a_table_in_a_constant_node(tmp_path: Path) -> None:
    theirs = constant(tmp_path / "theirs.onnx")
    assert parity.verify(theirs, layers(tmp_path / "plain.onnx", TABLE), input_types=TYPES).passed
    assert not parity.verify(constant(tmp_path / "mine.onnx", 1.0001), theirs, input_types=TYPES).passed


def test_a_table_that_is_rounded_from_the_reference_s_numbers_is_allowed_that_rounding(tmp_path: Path) -> None:
    theirs = layers(tmp_path / "theirs.onnx", normal(8, 8, seed=3))
    report = parity.verify(layers(tmp_path / "mine.onnx", TABLE), theirs, input_types=TYPES)
    assert report.passed
    assert report.tolerance.startswith("float16 weights in a float32 model: ")


def test_numbers_that_are_computed_with_in_half_precision_count(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    nodes = [node("Neg", "t", "minus"), node("Cast", "minus", "wide", to=TensorProto.FLOAT), node("Add", "x wide", "y")]
    save(path, graph(nodes, {"x": ("n", 8)}, {"y": ("n", 8)}, {"t": TABLE[:2, :1]}))
    assert widened_weights(path) == frozenset()
    assert detect_precision(layers(path, TABLE), widened_weights(path)) == "float32"
    assert detect_precision(path) == "float16"
    assert len(widened_weights(layers(path, TABLE))) == 1
