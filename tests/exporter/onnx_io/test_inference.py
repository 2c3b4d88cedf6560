"""Shape inference of models whose weights are in a file, and the element type of every value."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import graph, make_model, node, normal
from onnx import TensorProto, helper

from exporter.onnx_io.inference import infer_element_types, infer_shapes
from exporter.onnx_io.load import INLINE_BELOW, load_without_weights

HALF, FLOAT, BOOL = TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.BOOL


def test_the_values_of_external_weights_are_not_needed(tmp_path: Path) -> None:
    """A table of whole numbers that Gather looks up, as for the columns of a resized frame."""
    table = np.arange(INLINE_BELOW // 8)
    nodes = [node("Gather", "table index", "row"), node("Cast", "row", "value", to=1), node("Add", "value x", "y")]
    onnx.save(graph(nodes, {"x": (2, 3)}, {"y": None}, {"table": table, "index": np.array([2])}), tmp_path / "m.onnx")
    model = load_without_weights(tmp_path / "m.onnx")
    assert [tensor.data_location for tensor in model.graph.initializer] == [onnx.TensorProto.EXTERNAL, 0]
    inferred = infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = {value.name: len(value.type.tensor_type.shape.dim) for value in inferred.graph.value_info}
    assert shapes == {"row": 1, "value": 1}
    assert inferred.graph.initializer == model.graph.initializer
    assert inferred.graph.input == model.graph.input


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
