"""The first node that decides on numbers which were rounded to fewer bits than float32."""

from pathlib import Path

import numpy as np
import onnx
from helpers.graphs import make_model, node
from onnx import TensorProto, helper, numpy_helper

from exporter.onnx_io.rounding_decisions import find_rounding_decision


def test_a_weight_in_half_precision_with_the_name_of_one_inside_a_subgraph(tmp_path: Path) -> None:
    result = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    inner = [numpy_helper.from_array(np.zeros(4, np.float32), "w")]
    branch = helper.make_graph([node("Identity", "w", "o")], "g", [], [result], inner)
    nodes = [
        node("Add", "x w", "s"),
        node("ArgMax", "s", "y"),
        helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [4])]
    outputs = [
        helper.make_tensor_value_info(name, kind, None)
        for name, kind in (("y", TensorProto.INT64), ("z", TensorProto.FLOAT))
    ]
    weights = {"c": np.array(True), "w": np.ones(4, np.float16)}
    onnx.save(make_model(nodes, inputs, outputs, weights, 18), tmp_path / "m.onnx")
    assert find_rounding_decision(tmp_path / "m.onnx") == "y.node (ArgMax)"
