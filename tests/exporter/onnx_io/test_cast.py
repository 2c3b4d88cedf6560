"""Models with every floating-point number in another format."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from helpers import small_models
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from exporter.onnx_io.cast import cast_model
from exporter.onnx_io.precision import detect_precision
from exporter.onnx_io.signature import get_signature

value = helper.make_tensor_value_info
FLOAT, DOUBLE, HALF, BFLOAT = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16


def test_float64_model_computes_the_same_function(tmp_path: Path) -> None:
    model = cast_model(onnx.load(small_models.branches(tmp_path / "m.onnx")), "float64")
    run = ReferenceEvaluator(model).run
    for x in (np.array([[1.0, 1e-9]]), np.array([[-1.0, 1e-9]])):
        results: Any = run(None, {"x": x})
        y = results[0]
        wanted = x * 2 if x.sum() > 0 else x + float(np.float32(0.1))
        assert y.dtype == np.float64
        assert np.array_equal(y, wanted)
    assert get_signature(model).outputs[0].dtype == "float64"


def test_casts_and_local_functions_are_converted(tmp_path: Path) -> None:
    body = [helper.make_node("Cast", ["a"], ["low"], to=HALF), helper.make_node("Cast", ["low"], ["b"], to=FLOAT)]
    function = helper.make_function("local", "Round", ["a"], ["b"], body, [helper.make_opsetid("", 20)])
    graph = helper.make_graph(
        [helper.make_node("Round", ["x"], ["y"], domain="local")],
        "g",
        [value("x", FLOAT, ["n", 2])],
        [value("y", FLOAT, ["n", 2])],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    onnx.save(helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=10), tmp_path / "m.onnx")
    assert detect_precision(tmp_path / "m.onnx") == "float16"
    x = np.array([[1 / 3, 1e-12]])
    (y,) = ReferenceEvaluator(cast_model(onnx.load(tmp_path / "m.onnx"), "float64")).run(None, {"x": x})
    assert np.array_equal(y, x)


def test_integers_and_weights_in_other_files_stay_as_they_are() -> None:
    count = helper.make_tensor("count", TensorProto.INT64, [1], [2])
    outside = TensorProto(name="w", data_type=FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    graph = helper.make_graph(
        [helper.make_node("Concat", ["x", "x"], ["y"], axis=1), helper.make_node("ArgMax", ["y"], ["i"], axis=1)],
        "g",
        [value("x", FLOAT, [2, 3]), value("k", TensorProto.INT32, [2])],
        [value("y", FLOAT, [2, 6]), value("i", TensorProto.INT64, [2, 1])],
        [count, outside],
    )
    made = cast_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), "float64")
    assert [helper.get_attribute_value(node.attribute[0]) for node in made.graph.node] == [1, 1]  # 1 is also FLOAT
    types = [port.type.tensor_type.elem_type for port in (*made.graph.input, *made.graph.output)]
    assert types == [DOUBLE, TensorProto.INT32, DOUBLE, TensorProto.INT64]
    assert [*made.graph.initializer] == [count, outside]
