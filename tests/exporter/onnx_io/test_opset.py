"""Conversion to an older opset."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from helpers.graphs import graph, node, normal, run_onnxruntime
from onnx import TensorProto

from exporter.errors import UsageError
from exporter.onnx_io.opset import lower_opset, min_ir_version

AXES = {"axes": np.array([1, 2])}


def lowered(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = ir.from_proto(onnx.ModelProto.FromString(model.SerializeToString()))
    lower_opset(copy, 17)
    result = ir.to_proto(copy)
    onnx.checker.check_model(result, full_check=True)
    assert result.opset_import[0].version == 17
    return result


@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceMax", "ReduceL2"])
def test_reduce_takes_its_axes_as_an_attribute(operator: str) -> None:
    reduce = node(operator, "x axes", "y", keepdims=0, noop_with_empty_axes=0)
    model = graph([reduce], {"x": ["n", 3, 4]}, {"y": ["n"]}, AXES)
    result, x = lowered(model), {"x": normal(2, 3, 4)}
    attributes = {attribute.name: attribute for attribute in result.graph.node[0].attribute}
    assert list(attributes["axes"].ints) == [1, 2]
    assert attributes.keys() == {"axes", "keepdims"}
    assert not result.graph.initializer
    assert np.allclose(run_onnxruntime(result, x)["y"], run_onnxruntime(model, x)["y"], rtol=1e-6)


def test_even_split_needs_no_number_of_outputs() -> None:
    halves = {"a": ["n", 2], "b": ["n", 2]}
    model = graph([node("Split", "x", "a b", axis=1, num_outputs=2)], {"x": ["n", 4]}, halves, {})
    result, x = lowered(model), {"x": normal(3, 4)}
    assert [attribute.name for attribute in result.graph.node[0].attribute] == ["axis"]
    assert np.array_equal(run_onnxruntime(result, x)["b"], x["x"][:, 2:])


def test_operators_of_the_same_version_stay() -> None:
    model = graph([node("Relu", "x", "y")], {"x": ["n", 4]}, {"y": ["n", 4]}, {})
    assert lowered(model).graph == model.graph


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Mish", "x", "y")],  # opset 17 has no such operator
        [node("Split", "x", "y z", axis=1, num_outputs=2)],  # 5 in two parts: 3 and 2
        [node("ReduceMax", "x", "y", noop_with_empty_axes=1)],  # the identity
        [node("Cast", "x", "axes", to=TensorProto.INT64), node("ReduceMax", "x axes", "y")],
    ],
    ids=lambda nodes: nodes[-1].op_type,
)
def test_what_the_older_opset_lacks_is_rejected(nodes: list[onnx.NodeProto]) -> None:
    model = ir.from_proto(graph(nodes, {"x": [5]}, {"y": None}, {}))
    with pytest.raises(UsageError, match="opset 17 does not have; add --opset 18"):
        lower_opset(model, 17)


@pytest.mark.parametrize(("opset", "version"), [(17, 8), (18, 8), (19, 9), (21, 10)])
def test_ir_version_of_an_opset(opset: int, version: int) -> None:
    assert min_ir_version(opset) == version
