"""Transposes that undo each other go, and nothing else does."""

from pathlib import Path

import onnx_ir as ir
import pytest
from helpers.graphs import check_pass, graph, node, normal, rewrite

from exporter.passes.cancel_transposes import FIRST, LAST, CancelTransposes

SHAPE = {"x": ("n", 2, 3, 4, 5)}
FEEDS = {"x": normal(2, 2, 3, 4, 5)}


def test_a_transpose_that_undoes_another_is_its_input(tmp_path: Path) -> None:
    nodes = [node("Transpose", "x", "a", perm=LAST), node("Transpose", "a", "b", perm=FIRST), node("Neg", "b", "y")]
    done = check_pass(CancelTransposes(), graph(nodes, SHAPE, {"y": SHAPE["x"]}, {}), FEEDS, tmp_path, 0)
    assert done.operators == ["Neg"]


def test_the_first_stays_while_something_reads_it(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "a", perm=LAST),
        node("Transpose", "a", "b", perm=FIRST),
        node("Neg", "b", "y"),
        node("Abs", "a", "z"),
    ]
    outputs = {"y": SHAPE["x"], "z": ("n", 3, 4, 5, 2)}
    done = check_pass(CancelTransposes(), graph(nodes, SHAPE, outputs, {}), FEEDS, tmp_path, 0)
    assert done.operators == ["Transpose", "Neg", "Abs"]


@pytest.mark.parametrize("second", [LAST, [0, 4, 1, 3, 2]])
def test_others_stay(second: list[int]) -> None:
    nodes = [node("Transpose", "x", "a", perm=LAST), node("Transpose", "a", "b", perm=second), node("Neg", "b", "y")]
    assert not rewrite(CancelTransposes(), graph(nodes, SHAPE, {"y": ("n", *"abcd")}, {})).modified


def test_only_the_standard_operator_is_known() -> None:
    own = node("Transpose", "x", "a", perm=LAST)
    own.domain = "my.ops"
    nodes = [own, node("Transpose", "a", "b", perm=FIRST), node("Neg", "b", "y")]
    loaded = ir.from_proto(graph(nodes, SHAPE, {"y": ("n", *"abcd")}, {}))
    assert not CancelTransposes()(loaded).modified


def test_an_output_is_the_node_before_both_and_an_input_is_no_output(tmp_path: Path) -> None:
    nodes = [node("Transpose", "x", "a", perm=LAST), node("Transpose", "a", "y", perm=FIRST)]
    assert not rewrite(CancelTransposes(), graph(nodes, SHAPE, {"y": SHAPE["x"]}, {})).modified
    nodes[0].input[0] = "s"
    model = graph([node("Neg", "x", "s"), *nodes], SHAPE, {"y": SHAPE["x"]}, {})
    assert check_pass(CancelTransposes(), model, FEEDS, tmp_path, 0).operators == ["Neg"]
