"""Float16: what computes in it, what stays in float32 and why, and where the Casts are."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import check_pass, graph, make_model, node, normal, rewrite
from numpy.typing import NDArray
from onnx import TensorProto, helper

from exporter.passes.float16 import Float16

CLIP = {"x": normal(2, 3, 4, 6, 6)}
WEIGHTS = {"w": normal(8, 3, 3, 3, 3) / 9, "b": normal(8), "v": normal(5, 8, 1, 1, 1) / 3}


def network(nodes: list[onnx.NodeProto] | None = None, **weights: NDArray[Any]) -> onnx.ModelProto:
    """Two convolutions with a ReLU and a pooling between them, unless other nodes from x to y are given."""
    default = [
        node("Conv", "x w b", "a", pads=[1] * 6),
        node("Relu", "a", "r"),
        node("MaxPool", "r", "p", kernel_shape=[2] * 3, strides=[2] * 3),
        node("Conv", "p v", "y"),
    ]
    free = ("n", "c", "t", "h", "w")
    return graph(nodes or default, {"x": ("n", 3, 4, 6, 6)}, {"y": free}, weights or WEIGHTS, 17)


def types(model: onnx.ModelProto) -> dict[str, int]:
    """{value: element type}, by onnx's own inference."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    return {value.name: value.type.tensor_type.elem_type for value in values}


def test_layers_and_what_reads_them_compute_in_float16_between_two_casts(tmp_path: Path) -> None:
    done = check_pass(Float16(), network(), CLIP, tmp_path, 2e-3)
    assert done.operators == ["Cast", "Conv", "Relu", "MaxPool", "Conv", "Cast"]
    found = types(done.model)
    assert {name for name, kind in found.items() if kind == TensorProto.FLOAT} == {"x", "y"}
    assert {"a", "r", "p"} < set(found)  # the names of inner values stay
    assert {held.name: held.data_type for held in done.model.graph.initializer} == dict.fromkeys("wbv", 10)
    assert np.array_equal(done.weight("w"), WEIGHTS["w"].astype(np.float16))


def test_softmax_stays_in_float32_and_an_output_is_cast_once(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x w", "y"), node("Softmax", "y", "s", axis=-1)]
    model = graph(nodes, {"x": ("n", 6)}, {"y": ("n", 4), "s": ("n", 4)}, {"w": normal(6, 4)}, 17)
    done = check_pass(Float16(), model, {"x": normal(3, 6)}, tmp_path, 2e-3)
    assert done.operators == ["Cast", "Gemm", "Cast", "Softmax"]
    assert list(done.model.graph.node[3].input) == ["y"]


def test_what_comes_before_the_first_layer_stays(tmp_path: Path) -> None:
    nodes = [node("Sub", "x m", "c"), node("Conv", "c w b", "y")]
    done = check_pass(Float16(), network(nodes, m=normal(1), **WEIGHTS), CLIP, tmp_path, 2e-3)
    assert done.operators == ["Sub", "Cast", "Conv", "Cast"]
    assert done.weight("m").dtype == np.float32


def test_a_sum_with_a_float32_value_stays_in_float32(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c", pads=[1] * 6), node("Add", "c x", "y")]
    done = check_pass(Float16(), network(nodes, w=normal(3, 3, 3, 3, 3) / 9), CLIP, tmp_path, 2e-3)
    assert done.operators == ["Cast", "Conv", "Cast", "Add"]


@pytest.mark.parametrize(
    ("largest", "said"), [(1e5, "reaches 1e+05"), (np.nan, "reaches nan"), (3e-6, "reaches only 3e-06")]
)
def test_a_value_outside_float16s_range_keeps_all_that_touch_it_in_float32(largest: float, said: str) -> None:
    done = rewrite(Float16({"a": largest, "r": largest}), network())
    assert done.operators == ["Conv", "Relu", "MaxPool", "Cast", "Conv", "Cast"]  # the pooling's output fits
    assert [reason for reason in done.reasons if said in reason] == done.reasons
    assert types(done.model)["r"] == TensorProto.FLOAT


def test_a_value_must_fit_with_room_for_other_clips() -> None:
    assert rewrite(Float16({"a": 32_000.0}), network()).operators.count("Cast") == 2
    assert rewrite(Float16({"a": 33_000.0}), network()).reasons


@pytest.mark.parametrize("factor", [1e6, 1e-9], ids=["overflow", "subnormal"])
def test_a_weight_outside_float16s_range_keeps_its_layer(factor: float) -> None:
    weights = {**WEIGHTS, "w": WEIGHTS["w"] * np.float32(factor)}
    done = rewrite(Float16(), network(None, **weights))
    assert done.operators == ["Conv", "Relu", "MaxPool", "Cast", "Conv", "Cast"]
    assert np.array_equal(done.weight("w"), weights["w"])
    assert "its constant w" in done.reasons[0]


def test_raised_layers_stay_and_are_not_reported_as_out_of_range() -> None:
    step = Float16(raised={"a.node"})
    assert rewrite(step, network()).operators == ["Conv", "Relu", "MaxPool", "Cast", "Conv", "Cast"]
    assert step.layers == ["y.node"]
    assert step.out_of_range == []


def test_a_weight_that_a_float32_node_reads_too_exists_twice(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c"), node("ReduceSum", "w", "t", keepdims=0), node("Mul", "c t", "y")]
    done = check_pass(Float16(), network(nodes, w=WEIGHTS["w"]), CLIP, tmp_path, 2e-3)
    assert done.weight("w").dtype == np.float32
    assert done.weight("w.float16").dtype == np.float16


def test_inputs_of_another_type_stay(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c"), node("Resize", "c - s", "y", mode="nearest")]
    scales = np.array([1, 1, 1, 2, 2], np.float32)
    done = check_pass(Float16(), network(nodes, w=WEIGHTS["w"], s=scales), CLIP, tmp_path, 2e-3)
    assert done.operators == ["Cast", "Conv", "Resize", "Cast"]
    assert done.weight("s").dtype == np.float32


def test_a_graph_inside_a_node_reads_float32(tmp_path: Path) -> None:
    free = ("n", "c", "t", "h", "w")
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(operator, ["c"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, free)],
        )
        for name, operator in (("then", "Exp"), ("else", "Relu"))
    }
    model = make_model(
        [node("Conv", "x w", "c"), node("If", "f", "y", **branches)],
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3, 4, 6, 6)),
            helper.make_tensor_value_info("f", TensorProto.BOOL, ()),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, free)],
        {"w": WEIGHTS["w"]},
        17,
    )
    done = check_pass(Float16(), model, {**CLIP, "f": np.array(True)}, tmp_path, 5e-3)
    assert done.operators == ["Cast", "Conv", "Cast", "If"]
    inner = {node.input[0] for attribute in done.model.graph.node[3].attribute for node in attribute.g.node}
    assert inner == {"c.float32"}


def test_images_and_matrix_products_of_two_values(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w", "c"),
        node("Transpose", "c", "t", perm=[0, 1, 3, 2]),
        node("MatMul", "c t", "m"),
        node("Softmax", "m", "s", axis=-1),
        node("MatMul", "s c", "y"),
    ]
    model = graph(nodes, {"x": ("n", 3, 6, 6)}, {"y": ("n", 4, 4, 4)}, {"w": normal(4, 3, 3, 3) / 9}, 17)
    done = check_pass(Float16(), model, {"x": normal(2, 3, 6, 6)}, tmp_path, 5e-3)
    assert done.operators == ["Cast", "Conv", "Transpose", "MatMul", "Cast", "Softmax", "Cast", "MatMul", "Cast"]


def test_a_node_that_reads_no_more_than_the_shape_needs_no_cast(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c"), node("Shape", "c", "s"), node("Reshape", "c s", "y")]
    done = check_pass(Float16(), network(nodes, w=WEIGHTS["w"]), CLIP, tmp_path, 2e-3)
    assert done.operators == ["Cast", "Conv", "Shape", "Reshape", "Cast"]


def test_nothing_changes_without_a_layer() -> None:
    assert not rewrite(Float16(), network([node("Relu", "x", "y")])).modified
