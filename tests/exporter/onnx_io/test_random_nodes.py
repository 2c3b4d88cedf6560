"""Nodes that draw random numbers: found wherever an output depends on them, and nowhere else."""

import numpy as np
import onnx
import pytest
from helpers.graphs import graph, node
from onnx import TensorProto, helper

from exporter.onnx_io.random_nodes import random_node

ON, OFF = np.array(True), np.array(False)


def model(
    nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray] | None = None, opset: int = 18
) -> onnx.ModelProto:
    return graph(nodes, {"x": ["n", 3]}, {"y": None}, weights or {}, opset)


def branch(*nodes: onnx.NodeProto, output: str) -> onnx.GraphProto:
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph(list(nodes), "branch", [], [value])


NOISE = node("RandomNormalLike", "x", "noise")
ADD = node("Add", "x noise", "y")


@pytest.mark.parametrize(
    ("nodes", "weights", "found"),
    [
        ([NOISE, ADD], {}, "noise.node (RandomNormalLike)"),
        ([node("Bernoulli", "x", "y")], {}, "y.node (Bernoulli)"),
        ([node("RandomUniform", "", "noise", shape=[3]), ADD], {}, "noise.node (RandomUniform)"),
        ([node("Multinomial", "x", "y", sample_size=2)], {}, "y.node (Multinomial)"),
        ([node("Dropout", "x - on", "y")], {"on": ON}, "y.node (Dropout in training mode)"),
        ([node("Dropout", "x - on", "y")], {"on": OFF}, None),
        ([node("Dropout", "x", "y")], {}, None),
        ([node("Equal", "x x", "same"), node("Dropout", "x - same", "y")], {}, "y.node (Dropout in training mode)"),
        ([NOISE, node("Relu", "x", "y")], {}, None),
        ([NOISE, node("Shape", "noise", "sizes"), node("Expand", "x sizes", "y")], {}, None),
    ],
)
def test_only_what_an_output_depends_on_counts(
    nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], found: str | None
) -> None:
    assert random_node(model(nodes, weights)) == found


def test_a_constant_node_decides_the_mode_of_a_dropout() -> None:
    for mode, found in ((ON, "y.node (Dropout in training mode)"), (OFF, None)):
        constant = node("Constant", "", "mode", value=onnx.numpy_helper.from_array(mode))
        assert random_node(model([constant, node("Dropout", "x - mode", "y")])) == found


def test_branches_and_functions_are_searched() -> None:
    branches = {
        "then_branch": branch(node("RandomNormalLike", "x", "a"), output="a"),
        "else_branch": branch(node("Identity", "x", "b"), output="b"),
    }
    choose = node("If", "on", "y", **branches)
    assert random_node(model([choose], {"on": ON})) == "a.node (RandomNormalLike) inside y.node (If)"

    outer = model(
        [NOISE, node("If", "on", "y", then_branch=branch(output="noise"), else_branch=branches["else_branch"])]
    )
    assert random_node(outer) == "noise.node (RandomNormalLike)"

    imports = [helper.make_opsetid("", 18)]
    noisy = helper.make_function("own", "Noisy", ["a"], ["b"], [node("Bernoulli", "a", "b")], imports)
    calling = helper.make_node("Noisy", ["x"], ["y"], "call", domain="own")
    made = model([calling])
    made.functions.append(noisy)
    assert random_node(made) == "b.node (Bernoulli) in the function Noisy"


@pytest.mark.parametrize(("opset", "found"), [(6, "y.node (Dropout in training mode)"), (7, None), (11, None)])
def test_dropout_of_old_opsets_drops_unless_is_test_is_set(opset: int, found: str | None) -> None:
    assert random_node(model([node("Dropout", "x", "y")], opset=opset)) == found
    if opset < 7:
        assert random_node(model([node("Dropout", "x", "y", is_test=1)], opset=opset)) is None
