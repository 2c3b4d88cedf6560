"""The element type of every value, also where onnx does not know an operator."""

import onnx
import pytest
from helpers.graphs import make_model, node, normal
from onnx import TensorProto, helper

from exporter.onnx_io.element_types import infer_element_types

HALF, FLOAT, BOOL = TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.BOOL


def test_values_weights_inner_graphs_and_unknown_operators() -> None:
    branch = helper.make_graph(
        [helper.make_node("Relu", ["h"], ["t"])], "branch", [], [helper.make_tensor_value_info("t", HALF, None)]
    )
    model = make_model(
        [
            node("Cast", "x", "h", to=HALF),
            node("FastGelu", "h", "g", domain="com.microsoft"),
            node("MatMul", "g w", "m"),
            node("If", "f", "i", then_branch=branch, else_branch=branch),
            node("Cast", "m", "y", to=FLOAT),
        ],
        [helper.make_tensor_value_info("x", FLOAT, ("n", 6)), helper.make_tensor_value_info("f", BOOL, ())],
        [helper.make_tensor_value_info("y", FLOAT, ("n", 5)), helper.make_tensor_value_info("i", HALF, None)],
        {"w": normal(6, 5).astype("float16")},
        17,
    )
    halves = dict.fromkeys(("h", "g", "w", "m", "i", "t"), HALF)
    assert infer_element_types(model) == {"x": FLOAT, "f": BOOL, "y": FLOAT, **halves}


def test_a_shape_that_is_stated_wrongly_hides_no_type() -> None:
    model = make_model(
        [node("Cast", "x", "h", to=HALF), node("MatMul", "h w", "m"), node("Cast", "m", "y", to=FLOAT)],
        [helper.make_tensor_value_info("x", FLOAT, ("n", 6))],
        [helper.make_tensor_value_info("y", FLOAT, ("n", 5))],
        {"w": normal(6, 5).astype("float16")},
        17,
    )
    model.graph.value_info.append(helper.make_tensor_value_info("w", HALF, ()))
    with pytest.raises(onnx.shape_inference.InferenceError):
        onnx.shape_inference.infer_shapes(model)
    assert infer_element_types(model) == {"x": FLOAT, "y": FLOAT, **dict.fromkeys(("h", "w", "m"), HALF)}
