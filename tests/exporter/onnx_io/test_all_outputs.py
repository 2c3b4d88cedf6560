"""Models that return their intermediate values too."""

from pathlib import Path

import numpy as np
import onnx
from helpers import small_models
from onnx import TensorProto, helper

from exporter.onnx_io.all_outputs import intermediate_names, with_all_outputs

value = helper.make_tensor_value_info
FLOAT, DOUBLE, HALF, BFLOAT = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16


def test_values_that_depend_on_inputs_in_computed_order(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["k"], value_floats=[1.0, 2.0]),
        helper.make_node("Mul", ["k", "w"], ["kw"]),
        helper.make_node("Shape", ["x"], ["size"]),
        helper.make_node("Add", ["x", "kw"], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    path = small_models.save(
        tmp_path / "m.onnx",
        nodes,
        [value("x", FLOAT, ["n", 2])],
        [value("y", FLOAT, ["n", 2])],
        {"w": np.ones(2, np.float32)},
    )
    assert intermediate_names(onnx.load(path).graph) == ["a", "y"]
    shown = onnx.load_from_string(with_all_outputs(path))
    assert [output.name for output in shown.graph.output] == ["a", "y"]
    assert intermediate_names(onnx.load(small_models.branches(tmp_path / "b.onnx")).graph) == ["sum", "positive", "y"]
