"""Softmax, LogSoftmax and Hardmax in float64 equal onnxruntime's, before and after opset 13 changed them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import parity
from helpers.evaluated import assert_equal_to_onnxruntime
from helpers.graphs import node
from onnx import TensorProto, helper

X = np.random.default_rng(0).standard_normal((2, 4, 3, 5)).astype(np.float32)


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize(
    ("opset", "attributes"),
    [(opset, {"axis": axis} if axis else {}) for opset in (9, 12, 13) for axis in (None, 1, 2)]
    + [(opset, {"axis": axis}) for opset in (12, 13) for axis in (0, -1)],
)
def test_the_form_of_the_opset(operator: str, attributes: dict[str, Any], opset: int) -> None:
    assert_equal_to_onnxruntime(helper.make_node(operator, ["x"], ["y"], **attributes), {"x": X}, opset)


def test_no_numbers() -> None:
    assert_equal_to_onnxruntime(helper.make_node("Softmax", ["x"], ["y"]), {"x": X[:0]}, 12)


def save(path: Path, nodes: list[Any], opset: int) -> Path:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4, 1, 1]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def test_classes_before_positions_of_size_1_are_compared_with_their_softmax(tmp_path: Path) -> None:
    """As in SqueezeNet: the classes are axis 1 of (N, classes, 1, 1), and a softmax over the last axis would be 1."""
    theirs = save(tmp_path / "theirs.onnx", [node("Softmax", "x", "y")], 9)
    report = parity.verify(theirs, theirs, input_types=("random", "uniform"))
    assert report.passed
    assert max(row.float32_max_error for row in report.comparisons) < 1e-6


def test_a_temperature_that_is_not_the_reference_s_fails(tmp_path: Path) -> None:
    theirs = save(tmp_path / "theirs.onnx", [node("Softmax", "x", "y")], 9)
    mine = save(tmp_path / "mine.onnx", [node("Add", "x x", "z"), node("Softmax", "z", "y")], 9)
    assert not parity.verify(mine, theirs, input_types=("random", "uniform")).passed
