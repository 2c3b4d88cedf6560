"""Transposes move behind elementwise operators where that removes some, and the function stays."""

from pathlib import Path
from typing import Any

import onnx
import pytest
from helpers.graphs import check_pass, graph, node, normal, rewrite

from exporter.passes.cancel_transposes import FIRST, FRAMES
from exporter.passes.move_transposes import MoveTransposes

SHAPE = ("n", 2, 3, 4, 5)
INPUTS = {"a": SHAPE, "b": SHAPE}
FEEDS = {"a": normal(2, 2, 3, 4, 5), "b": normal(2, 2, 3, 4, 5, seed=1)}
TOLERANCE = 1e-6
"""One float32 operator."""
FRAMES_FIRST = ("n", 3, 2, 4, 5)


def transpose(source: str, result: str, perm: list[int] = FRAMES) -> onnx.NodeProto:
    return node("Transpose", source, result, perm=perm)


def model(*nodes: onnx.NodeProto, shape: tuple[int | str, ...] = FRAMES_FIRST, **weights: Any) -> onnx.ModelProto:
    return graph(nodes, INPUTS, {"y": shape}, weights)


MATCHES = {
    "one operator": model(transpose("a", "t"), node("LeakyRelu", "t", "y", alpha=0.2)),
    "both sides": model(transpose("a", "t"), transpose("b", "u"), node("Add", "t u", "y")),
    "the same twice": model(transpose("a", "t"), node("Mul", "t t", "y")),
    "a number": model(transpose("a", "t"), node("Mul", "t c", "y"), c=normal(1)),
    "a number for each channel": model(transpose("a", "t"), node("Sub", "c t", "y"), c=normal(2, 1, 1)),
    "a slope for each frame": model(transpose("a", "t"), node("PRelu", "t c", "y"), c=normal(3, 1, 1, 1)),
    "limits": model(transpose("a", "t"), node("Clip", "t - c", "y"), c=normal(1)[0]),
    "concatenated": model(
        transpose("a", "t"), transpose("b", "u"), node("Concat", "t u", "y", axis=-3), shape=("n", 3, 4, 4, 5)
    ),
    "channels first": model(
        transpose("a", "t", FIRST), transpose("b", "u", FIRST), node("Sum", "t u", "y"), shape=("n", 5, 2, 3, 4)
    ),
}


@pytest.mark.parametrize("name", MATCHES)
def test_the_operator_runs_before_the_transpose(name: str, tmp_path: Path) -> None:
    done = check_pass(MoveTransposes(), MATCHES[name], FEEDS, tmp_path, TOLERANCE)
    assert done.modified
    assert len(done.operators) == 2
    assert done.operators[-1] == "Transpose"


def shortcut(*, read_transposed: bool) -> onnx.ModelProto:
    """A residual block after `a`, between the Transposes of rewritten convolutions; the sum is read plainly or not."""
    nodes = [
        transpose("a", "f"),
        node("Sin", "f", "g"),
        transpose("g", "t"),
        node("Add", "t b", "s"),
        node("Relu", "s", "r"),
    ]
    nodes += [transpose("r", "u"), node("Sin", "u", "y")] if read_transposed else [node("Sin", "r", "y")]
    return model(*nodes, shape=FRAMES_FIRST if read_transposed else SHAPE)


def test_a_plain_operand_is_transposed_where_the_sum_is_read_transposed(tmp_path: Path) -> None:
    done = check_pass(MoveTransposes(), shortcut(read_transposed=True), FEEDS, tmp_path, TOLERANCE)
    assert done.operators == ["Transpose", "Sin", "Transpose", "Add", "Relu", "Sin"]
    assert not rewrite(MoveTransposes(), shortcut(read_transposed=False)).modified


def test_a_plain_operand_that_is_also_read_transposed_needs_no_other_transpose(tmp_path: Path) -> None:
    nodes = [node("Abs", "a", "x"), transpose("x", "f"), node("Sin", "f", "g"), transpose("g", "t")]
    nodes += [node("Add", "t x", "s"), transpose("s", "u"), node("Sin", "u", "y")]
    done = check_pass(MoveTransposes(), model(*nodes), FEEDS, tmp_path, TOLERANCE)
    assert done.operators == ["Abs", "Transpose", "Sin", "Add", "Sin"]


NEAR_MISSES = {
    "another layout": model(transpose("a", "t", [0, 1, 3, 2, 4]), node("Relu", "t", "y"), shape=("n", 2, 4, 3, 5)),
    "two layouts": graph(
        [transpose("a", "t"), transpose("b", "u", FIRST), node("Add", "t u", "y")],
        dict.fromkeys("ab", ("n", 3, 3, 3, 3)),
        {"y": ("n", 3, 3, 3, 3)},
        {},
    ),
    "read elsewhere": model(
        transpose("a", "t"), node("Relu", "t", "r"), node("Softmax", "t", "s"), node("Add", "r s", "y")
    ),
    "an operator that is not elementwise": model(transpose("a", "t"), node("Softmax", "t", "y")),
    "a constant with more axes": graph(
        [transpose("a", "t"), node("Add", "t c", "y")],
        INPUTS,
        {"y": (1, *FRAMES_FIRST)},
        {"c": normal(1, 1, 3, 1, 1, 1)},
    ),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_others_stay(name: str) -> None:
    assert not rewrite(MoveTransposes(), NEAR_MISSES[name]).modified


def test_an_output_of_the_graph_stays_transposed() -> None:
    nodes = [transpose("a", "t"), node("Relu", "t", "y")]
    outputs = {"t": FRAMES_FIRST, "y": FRAMES_FIRST}
    assert not rewrite(MoveTransposes(), graph(nodes, INPUTS, outputs, {})).modified
