"""Discrete outputs followed back to float values: which elements may differ, and to what."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import make_model, node
from numpy.typing import NDArray
from onnx import TensorProto, helper

from exporter.engines.base import RuntimeOptions
from exporter.engines.onnx_reference import FloatGraph
from exporter.parity.decisions import DecisionGraph, Run
from exporter.parity.decisions.nodes import Given
from exporter.parity.tolerance import AllcloseTolerance

Array = NDArray[Any]
ERROR = 0.01
"""The allowed error of every float value before a decision."""
NEAR = 0.004


class Output:
    """The output `y` of a graph of `x` and of `s`, which equals `x` and whose values have `ERROR`."""

    def __init__(self, folder: Path, nodes: list[onnx.NodeProto], x: Array, dtype: int, **weights: float) -> None:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
        outputs = [helper.make_tensor_value_info("y", dtype, None)]
        nodes = [node("Mul", "x one", "s"), *nodes]
        constants = {"one": np.array(1, np.float32), "k": np.array([3])}
        constants |= {name: np.array(value, np.float32) for name, value in weights.items()}
        model = make_model(nodes, inputs, outputs, constants, 18)
        onnx.save(model, path := folder / "m.onnx")
        self.tree = DecisionGraph(path).trace("y")
        names = tuple(self.tree.names() - {"x"})
        with FloatGraph(path, RuntimeOptions(extra_outputs=names)) as runtime:
            found = {**runtime.run({"x": x}), "x": x.astype(np.float64)}
        self.run = Run(found, found, AllcloseTolerance(0, ERROR))
        self.values = found["y"]

    def accepts(self, position: int, candidate: Any) -> bool:
        candidates = np.array([candidate], self.values.dtype)
        return bool(self.tree.accepts(self.run, np.array([position]), candidates)[0])

    @property
    def uncertain(self) -> list[bool]:
        return self.run.bounds(self.tree).uncertain.reshape(-1).tolist()


SCORES = np.array([[1.0, 1.015, 0.0], [1.0, 3.0, 0.0]], np.float32)  # the first row is near a tie, the second is not


@pytest.mark.parametrize(("operator", "x"), [("ArgMax", SCORES), ("ArgMin", -SCORES)])
def test_a_label_may_be_another_class_only_where_their_scores_are_near(operator: str, x: Array, tmp_path: Path) -> None:
    y = Output(tmp_path, [node(operator, "s", "y", axis=1, keepdims=0)], x, TensorProto.INT64)
    assert y.values.tolist() == [1, 1]
    assert y.uncertain == [True, False]
    assert [y.accepts(0, label) for label in (0, 1, 2, 3, -1)] == [True, True, False, False, False]
    assert [y.accepts(1, label) for label in (0, 1, 2)] == [False, True, False]


def test_labels_are_followed_through_casts_and_moves(tmp_path: Path) -> None:
    nodes = [
        node("ArgMax", "s", "labels", axis=1),
        node("Transpose", "labels", "row", perm=[1, 0]),
        node("Cast", "row", "floats", to=TensorProto.FLOAT),
        node("Concat", "floats floats", "twice", axis=0),
        node("Add", "twice half", "y"),
    ]
    y = Output(tmp_path, nodes, SCORES, TensorProto.FLOAT, half=0.5)
    assert y.uncertain == [True, False, True, False]
    assert [y.accepts(2, value) for value in (0.5, 1.5, 3.5)] == [True, True, False]
    assert [y.accepts(3, value) for value in (0.5, 1.5)] == [False, True]


def test_top_k_indices_may_change_places_with_near_neighbours_only(tmp_path: Path) -> None:
    x = np.array([[0.0, 5.0, 4.99, 9.0, 4.0]], np.float32)
    y = Output(tmp_path, [node("TopK", "s k", "values y", axis=-1)], x, TensorProto.INT64)
    assert y.values.tolist() == [[3, 1, 2]]
    assert y.uncertain == [False, True, True]
    positions = np.arange(3)
    for indices, accepted in (([3, 2, 1], [1, 1, 1]), ([1, 3, 2], [0, 0, 1]), ([3, 1, 1], [1, 0, 0])):
        assert y.tree.accepts(y.run, positions, np.array(indices)).tolist() == [bool(found) for found in accepted]


@pytest.mark.parametrize(
    ("operator", "x", "expected", "uncertain"),
    [
        ("Greater", [0.504, 0.6, 0.4], [True, True, False], [True, False, False]),
        ("LessOrEqual", [0.504, 0.6, 0.4], [False, False, True], [True, False, False]),
        ("Equal", [0.504, 0.6, 0.5], [False, False, True], [True, False, True]),
    ],
)
def test_a_comparison_may_differ_only_near_its_threshold(
    operator: str, x: list[float], expected: list[bool], uncertain: list[bool], tmp_path: Path
) -> None:
    y = Output(tmp_path, [node(operator, "s t", "y")], np.array(x, np.float32), TensorProto.BOOL, t=0.5)
    assert y.values.tolist() == expected
    assert y.uncertain == uncertain
    assert [y.accepts(i, not value) for i, value in enumerate(expected)] == uncertain


@pytest.mark.parametrize(
    ("operator", "x", "other"),
    [("Round", 2.504, 2), ("Floor", 2.996, 3), ("Ceil", 2.004, 2), ("Sign", NEAR, 0)],
)
def test_a_rounded_number_may_become_its_neighbour_only_near_the_step(
    operator: str, x: float, other: float, tmp_path: Path
) -> None:
    y = Output(tmp_path, [node(operator, "s", "y")], np.array([x, x + 0.3], np.float32), TensorProto.FLOAT)
    assert y.uncertain == [True, False]
    assert y.accepts(0, other)
    assert not y.accepts(0, y.values[0] + 2)
    assert not y.accepts(0, y.values[0] + 0.5 * (other - y.values[0]))
    assert not y.accepts(1, y.values[1] + other - y.values[0])


def test_a_cast_to_integers_is_a_step_and_its_overflow_is_not_excused(tmp_path: Path) -> None:
    x = np.array([2.996, 2.5, 300.0], np.float32)
    y = Output(tmp_path, [node("Cast", "s", "y", to=TensorProto.UINT8)], x, TensorProto.UINT8)
    assert y.uncertain == [True, False, False]
    assert [y.accepts(0, value) for value in (2, 3, 4)] == [True, True, False]
    assert not y.accepts(2, 17)


def test_either_branch_is_accepted_where_the_condition_is_near_a_tie(tmp_path: Path) -> None:
    nodes = [node("Greater", "s t", "mask"), node("Where", "mask s low", "y")]
    x = np.array([0.504, 0.8], np.float32)
    y = Output(tmp_path, nodes, x, TensorProto.FLOAT, t=0.5, low=-7)
    assert y.uncertain == [True, False]
    assert [y.accepts(0, value) for value in (0.504, 0.51, -7, -3)] == [True, True, True, False]
    assert [y.accepts(1, value) for value in (0.8, -7)] == [True, False]


def test_a_branch_may_be_a_constant_of_another_dtype(tmp_path: Path) -> None:
    nodes = [
        node("Greater", "s t", "mask"),
        node("Cast", "s", "wide", to=TensorProto.DOUBLE),
        node("Cast", "low", "other", to=TensorProto.DOUBLE),
        node("Where", "mask wide other", "y"),
    ]
    y = Output(tmp_path, nodes, np.array([0.504, 0.8], np.float32), TensorProto.DOUBLE, t=0.5, low=-7)
    assert y.uncertain == [True, False]
    assert [y.accepts(0, value) for value in (-7, -3)] == [True, False]


def test_what_a_relu_sets_to_zero_is_no_tie_unless_it_was_near_zero_before(tmp_path: Path) -> None:
    nodes = [node("Relu", "s", "r"), node("Greater", "r zero", "y")]
    x = np.array([-NEAR, -1.0, NEAR], np.float32)
    y = Output(tmp_path, nodes, x, TensorProto.BOOL, zero=0)
    assert y.values.tolist() == [False, False, True]
    assert y.uncertain == [True, False, True]
    assert not y.accepts(1, True)


def test_numbers_that_are_exactly_zero_are_no_tie(tmp_path: Path) -> None:
    x = np.zeros((1, 3), np.float32)
    assert Output(tmp_path, [node("Cast", "s", "y", to=TensorProto.BOOL)], x, TensorProto.BOOL).uncertain == [False] * 3
    labels = Output(tmp_path, [node("ArgMax", "s", "y", axis=1)], x, TensorProto.INT64)
    assert labels.uncertain == [False]
    assert [labels.accepts(0, label) for label in (0, 1)] == [True, False]


def test_logic_on_masks(tmp_path: Path) -> None:
    nodes = [
        node("Greater", "s t", "a"),
        node("Less", "s t", "b"),
        node("Not", "a", "c"),
        node("And", "b c", "y"),
    ]
    y = Output(tmp_path, nodes, np.array([0.496, 0.2, 0.9], np.float32), TensorProto.BOOL, t=0.5)
    assert y.values.tolist() == [True, True, False]
    assert y.uncertain == [True, False, False]


@pytest.mark.parametrize(
    ("nodes", "dtype"),
    [
        ([node("Softmax", "s", "y")], TensorProto.FLOAT),
        ([node("Greater", "x one", "m"), node("Where", "m s one", "y")], TensorProto.FLOAT),  # inputs are exact
        ([node("NonZero", "s", "y")], TensorProto.INT64),
    ],
)
def test_continuous_outputs_and_what_is_not_known_are_left_to_other_rules(
    nodes: list[onnx.NodeProto], dtype: int, tmp_path: Path
) -> None:
    y = Output(tmp_path, nodes, np.array([[0.504, 0.8]], np.float32), dtype)
    assert not y.tree.decides


def test_a_constant_inside_a_subgraph_is_no_value_of_the_graph_of_that_name(tmp_path: Path) -> None:
    """onnxruntime loads such files; the value decides what ArgMax returns, the constant does not."""
    inner = helper.make_tensor("v", TensorProto.FLOAT, [1, 4], [7.0] * 4)
    result = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    then = helper.make_graph([node("Identity", "v", "o")], "then", [], [result], [inner])
    other = helper.make_graph([node("Identity", "x", "o")], "else", [], [result])
    nodes = [
        helper.make_node("If", ["c"], ["z"], then_branch=then, else_branch=other),
        node("Add", "x z", "v"),
        node("ArgMax", "v", "y", axis=1, keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.INT64, [1])]
    onnx.save(make_model(nodes, inputs, outputs, {"c": np.array(True)}, 18), tmp_path / "m.onnx")
    assert DecisionGraph(tmp_path / "m.onnx").trace("y").decides


def test_a_constant_is_not_the_one_of_that_name_inside_a_subgraph(tmp_path: Path) -> None:
    result = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    branches = [
        helper.make_graph(
            [node("Identity", "t", "o")], "g", [], [result], [helper.make_tensor("t", TensorProto.FLOAT, [], [number])]
        )
        for number in (7.0, 8.0)
    ]
    nodes = [
        helper.make_node("If", ["c"], ["z"], then_branch=branches[0], else_branch=branches[1]),
        node("Sub", "z t", "y"),
    ]
    weights = {"c": np.array(True), "t": np.array(0.5, np.float32)}
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])]
    onnx.save(make_model(nodes, [], outputs, weights, 18), tmp_path / "m.onnx")
    found = DecisionGraph(tmp_path / "m.onnx").trace("t")
    assert isinstance(found, Given)
    assert found.constant == 0.5
