"""The element type of every value, also where onnx does not know an operator."""

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
