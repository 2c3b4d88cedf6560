"""What computes nothing goes; what might stays."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import check_pass, graph, node, normal, rewrite
from numpy.typing import NDArray
from onnx import TensorProto, helper

from exporter.passes.base import GraphPass
from exporter.passes.cleanup import FoldConstants, LiftConstants, RemoveDeadCode, RemoveNoOps

ROW = {"x": ("n", 6)}
FEEDS = {"x": normal(2, 6)}
OUT = {"y": ("n", 6)}
EXACT = 1e-6


def constant(name: str, values: NDArray[np.float32]) -> onnx.NodeProto:
    return node("Constant", "", name, value=onnx.numpy_helper.from_array(values, name))


def test_constants_become_initialisers(tmp_path: Path) -> None:
    model = graph([constant("k", normal(6)), node("Add", "x k", "y")], ROW, OUT, {})
    done = check_pass(LiftConstants(), model, FEEDS, tmp_path, EXACT)
    assert done.modified
    assert done.operators == ["Add"]
    assert np.array_equal(done.weight("k"), normal(6))


def test_a_cast_to_the_type_of_another_value_keeps_its_attributes() -> None:
    made = graph([node("CastLike", "x k", "c", saturate=0), node("Cast", "c", "y", to=1)], ROW, OUT, {}, 21)
    like = helper.make_tensor("k", TensorProto.FLOAT8E5M2, [1], [1.0])
    made.graph.initializer.append(like)
    done = rewrite(FoldConstants(), made)
    assert done.operators == ["Cast", "Cast"]
    attributes = {attribute.name: attribute.i for attribute in done.model.graph.node[0].attribute}
    assert attributes == {"to": TensorProto.FLOAT8E5M2, "saturate": 0}


def test_a_constant_output_stays_a_node() -> None:
    model = graph([constant("y", normal(1, 6))], ROW, {"y": (1, 6)}, {})
    assert not rewrite(LiftConstants(), model).modified


@pytest.mark.parametrize("opset", [11, 18])  # opset 11 has no Constant of a list
def test_shape_arithmetic_is_done_now(opset: int, tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s i", "d", axis=0),
        node("Concat", "m d", "t", axis=0),
        node("Reshape", "x t", "r"),
        node("Relu", "r", "y"),
    ]
    held = {"i": np.array([1]), "m": np.array([-1])}
    done = check_pass(FoldConstants(), graph(nodes, ROW, OUT, held, opset), FEEDS, tmp_path, EXACT)
    assert done.modified
    assert done.operators == ["Shape", "Reshape", "Relu"]  # the Shape is dead code now
    assert b"onnxscript" not in done.model.SerializeToString()


def test_an_output_keeps_the_sizes_it_states() -> None:
    nodes = [node("Reshape", "x t", "r"), node("Relu", "r", "y")]
    model = graph(nodes, {"x": (2, 6)}, {"y": ("a", "b")}, {"t": np.array([3, 4])})
    assert not rewrite(FoldConstants(), model).modified


def test_arithmetic_on_what_is_not_known_stays() -> None:
    nodes = [node("Shape", "x", "s"), node("Reshape", "x s", "y")]
    assert "Shape" in rewrite(FoldConstants(), graph(nodes, ROW, OUT, {})).operators


def dropout(opset: int, result: str = "d", training: bool | None = None) -> onnx.ModelProto:
    held = {} if training is None else {"ratio": np.float32(0.5), "training": np.array(training)}
    made = node("Dropout", "x" if training is None else "x ratio training", result)
    return graph([made, node("Relu", "d", "y")], ROW, OUT, {name: np.asarray(v) for name, v in held.items()}, opset)


@pytest.mark.parametrize(("opset", "training"), [(7, None), (13, None), (13, False), (22, False)])
def test_dropout_of_inference_goes(opset: int, training: bool | None, tmp_path: Path) -> None:
    done = check_pass(RemoveNoOps(), dropout(opset, training=training), FEEDS, tmp_path, EXACT)
    assert done.modified
    assert done.operators == ["Relu"]


def padded(opset: int, amounts: list[int], mode: str = "constant") -> onnx.ModelProto:
    attributes = {"pads": amounts} if opset < 11 else {}
    made = node("Pad", "x" if opset < 11 else "x amounts", "p", mode=mode, **attributes)
    held = {} if opset < 11 else {"amounts": np.array(amounts)}
    return graph([made, node("Relu", "p", "y")], ROW, {"y": ("a", "b")}, held, opset)


@pytest.mark.parametrize(("opset", "mode"), [(7, "constant"), (13, "reflect"), (18, "constant"), (23, "edge")])
def test_a_pad_of_nothing_goes(opset: int, mode: str, tmp_path: Path) -> None:
    done = check_pass(RemoveNoOps(), padded(opset, [0, 0, 0, 0], mode), FEEDS, tmp_path, EXACT)
    assert done.operators == ["Relu"]


def test_a_pad_that_adds_or_crops_or_is_decided_at_run_time_stays() -> None:
    assert not rewrite(RemoveNoOps(), padded(13, [0, 0, 0, 1])).modified
    assert not rewrite(RemoveNoOps(), padded(7, [0, -1, 0, 0])).modified
    shapes = {"x": ("n", 6), "amounts": (4,)}
    ports = [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shapes["x"])]
    ports.append(onnx.helper.make_tensor_value_info("amounts", onnx.TensorProto.INT64, shapes["amounts"]))
    model = padded(13, [0, 0, 0, 0])
    del model.graph.input[:]
    model.graph.input.extend(ports)  # the initialiser is only its default
    assert not rewrite(RemoveNoOps(), model).modified


def test_dropout_in_training_mode_stays_and_says_why() -> None:
    done = rewrite(RemoveNoOps(), dropout(13, training=True))
    assert not done.modified
    assert done.reasons == ["it drops: training mode is on, or decided at run time"]


def test_dropout_whose_mask_is_read_stays() -> None:
    model = dropout(13, "d mask")
    model.graph.output.append(onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.BOOL, ["n", 6]))
    done = rewrite(RemoveNoOps(), model)
    assert not done.modified
    assert done.reasons == ["its mask is read"]


def test_a_dropout_that_is_the_output_leaves_its_name(tmp_path: Path) -> None:
    model = graph([node("Relu", "x", "r"), node("Dropout", "r", "y")], ROW, OUT, {}, 13)
    done = check_pass(RemoveNoOps(), model, FEEDS, tmp_path, EXACT)
    assert done.operators == ["Relu"]
    assert [value.name for value in done.model.graph.output] == ["y"]


def test_identity_from_input_to_output_stays() -> None:
    assert not rewrite(RemoveNoOps(), graph([node("Identity", "x", "y")], ROW, OUT, {})).modified


def test_identity_in_the_middle_goes(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "r"), node("Identity", "r", "i"), node("Neg", "i", "y")]
    assert check_pass(RemoveNoOps(), graph(nodes, ROW, OUT, {}), FEEDS, tmp_path, EXACT).operators == ["Relu", "Neg"]


def test_dead_code_goes_and_the_rest_stays(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "y"), node("Neg", "x", "dead"), node("Add", "dead w", "deader")]
    done = check_pass(
        RemoveDeadCode(), graph(nodes, ROW, OUT, {"w": normal(6), "unused": normal(3)}), FEEDS, tmp_path, EXACT
    )
    assert done.modified
    assert done.operators == ["Relu"]
    assert not done.model.graph.initializer


def test_what_is_computed_twice_is_computed_once(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "a"), node("Relu", "x", "b"), node("Add", "a b", "y")]
    done = check_pass(RemoveDeadCode(), graph(nodes, ROW, OUT, {}), FEEDS, tmp_path, EXACT)
    assert done.operators == ["Relu", "Add"]


def test_a_clean_graph_is_not_modified() -> None:
    assert not rewrite(RemoveDeadCode(), graph([node("Relu", "x", "y")], ROW, OUT, {})).modified


@pytest.mark.parametrize("operator", ["Identity", "Dropout"])
def test_an_output_that_is_a_copy_of_another_keeps_its_name(operator: str, tmp_path: Path) -> None:
    nodes = [node("Tanh", "x", "t"), node(operator, "t", "c"), node("Relu", "t", "y")]
    outputs = {"c": ("n", 6), "y": ("n", 6), "t": ("n", 6)}
    done = check_pass(RemoveNoOps(), graph(nodes, ROW, outputs, {}), FEEDS, tmp_path, EXACT)
    assert done.operators == ["Tanh", "Identity", "Relu"]


def test_indices_stay_where_onnxruntime_refuses_the_pool_without_them(tmp_path: Path) -> None:
    pool = node("MaxPool", "x", "p i", kernel_shape=[1], strides=[4], auto_pad="SAME_UPPER")
    nodes = [pool, node("Relu", "p", "y"), node("Neg", "x", "unused")]
    model = graph(nodes, {"x": ("n", 2, 8)}, {"y": ("n", 2, 2)}, {})
    done = check_pass(RemoveDeadCode(), model, {"x": normal(3, 2, 8)}, tmp_path, EXACT)
    assert done.operators == ["MaxPool", "Relu"]
    assert list(done.model.graph.node[0].output) == ["p", "i"]


def test_unused_indices_go_and_that_is_a_change() -> None:
    pool = node("MaxPool", "x", "y i", kernel_shape=[2], strides=[2])
    done = rewrite(RemoveDeadCode(), graph([pool], {"x": ("n", 2, 8)}, {"y": ("n", 2, 4)}, {}))
    assert done.modified
    assert list(done.model.graph.node[0].output) == ["y"]


@pytest.mark.parametrize(
    "step", [LiftConstants(), FoldConstants(), RemoveNoOps(), RemoveDeadCode()], ids=lambda step: step.name
)
def test_a_model_with_subgraphs_is_left_alone(step: GraphPass) -> None:
    branches = [
        onnx.helper.make_graph(
            [
                constant(f"k{name}", normal(6)),
                node("Add", f"x k{name}", f"a{name}"),
                node("Identity", f"a{name}", name),
            ],
            name,
            [],
            [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)],
        )
        for name in ("then", "else")
    ]
    nodes = [node("If", "flag", "y", then_branch=branches[0], else_branch=branches[1]), node("Neg", "x", "dead")]
    assert not rewrite(step, graph(nodes, ROW, OUT, {"flag": np.array(True)})).modified
