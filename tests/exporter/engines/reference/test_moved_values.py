"""Values of a graph are moved as rounding moves them: those that are computed, and those that a mean is subtracted of."""

from typing import Any

import numpy as np
import pytest
from helpers.graphs import node

from exporter.engines.reference.moved_values import Moves
from exporter.engines.reference.node import make_node

VALUES = np.full((2, 50), 0.9, np.float32)


def moved(values: Any, moves: Moves, operator: str, *, inputs: bool = False) -> Any:
    made = make_node(node(operator, "x g", "y"), {"": 20})
    return moves.inputs(made, [values, values])[0] if inputs else moves.outputs(made, [values])[0]


@pytest.mark.parametrize(
    ("operator", "number"), [("Mul", 3), ("Relu", 1), ("MaxPool", 1), ("Transpose", 1), ("InstanceNormalization", 3)]
)
def test_only_what_rounds_is_moved_by_a_step(operator: str, number: int) -> None:
    found = np.concatenate([moved(VALUES, Moves(seed, 1), operator) for seed in range(9)])
    near = {np.nextafter(np.float32(0.9), np.float32(end)) for end in (0, 2)} | {np.float32(0.9)}
    assert {*found.reshape(-1).tolist()} <= {float(value) for value in near}
    assert (len({*found.reshape(-1).tolist()}) > 1) is (number > 1)


@pytest.mark.parametrize(("operator", "changed"), [("InstanceNormalization", True), ("Mul", False), ("Softmax", False)])
def test_what_an_operator_centres_is_moved_before_it(operator: str, *, changed: bool) -> None:
    assert (not np.array_equal(moved(VALUES, Moves(0, 1), operator, inputs=True), VALUES)) is changed


def test_float64_is_moved_the_same_way_by_a_part_of_float32_s_step() -> None:
    part, values = 2.0**-20, VALUES.astype(np.float64)
    coarse = moved(VALUES, Moves(5, 1), "Mul").astype(np.float64) - values
    fine = moved(values, Moves(5, part), "Mul") - values
    assert np.allclose(fine, part * coarse, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "value", [np.arange(4), np.array(["a"]), [VALUES], None, np.array([np.inf, np.nan, 0, -3.0, 1e300])]
)
def test_what_is_no_rounded_number_stays(value: Any) -> None:
    assert moved(value, Moves(1, 1), "Mul") is value or np.array_equal(
        moved(value, Moves(1, 1), "Mul"), value, equal_nan=True
    )


def test_two_nodes_are_moved_independently() -> None:
    one, other = (make_node(node("Mul", "x g", name), {"": 20}) for name in ("y", "z"))
    moves = Moves(0, 1)
    assert not np.array_equal(moves.outputs(one, [VALUES])[0], moves.outputs(other, [VALUES])[0])
