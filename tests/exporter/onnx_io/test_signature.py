"""Inputs and outputs of a graph."""

from pathlib import Path

import numpy as np
from helpers import small_models
from onnx import TensorProto, helper

from exporter.onnx_io.signature import read_signature

value = helper.make_tensor_value_info
FLOAT, DOUBLE, HALF, BFLOAT = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16


def test_inputs_and_outputs_with_dtypes_and_shapes(tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=HALF), helper.make_node("Add", ["d", "w"], ["z"])]
    inputs = [value("x", FLOAT, ["n", 2]), value("d", DOUBLE, [None, 2]), value("w", DOUBLE, [2])]
    outputs = [value("y", HALF, ["n", 2]), value("z", DOUBLE, [None, 2])]
    path = small_models.save(tmp_path / "m.onnx", nodes, inputs, outputs, {"w": np.zeros(2)})
    signature = read_signature(path)
    assert [(spec.name, spec.dtype, spec.shape) for spec in signature.inputs] == [
        ("x", "float32", ("n", 2)),
        ("d", "float64", ("?", 2)),
    ], "a weight that is an input too is no input to pass"
    assert [(spec.name, spec.dtype) for spec in signature.outputs] == [("y", "float16"), ("z", "float64")]


def test_unknown_element_type(tmp_path: Path) -> None:
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value("x", 99, [2])], [])
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    assert read_signature(tmp_path / "m.onnx").inputs[0].dtype == "type 99"
