"""What the numbers of a value depend on, branches and shapes included."""

from pathlib import Path

import onnx
import pytest
from helpers import small_models
from helpers.graphs import graph, node

from exporter.onnx_io.subgraphs import inputs_before


@pytest.mark.parametrize(
    ("value", "expected"),
    [("y", {"a", "b"}), ("t", {"a"}), ("a", {"a"}), ("s", set[str]()), ("z", {"c"}), ("unknown", set[str]())],
)
def test_a_value_depends_on_the_inputs_before_it_and_a_shape_on_none(value: str, expected: set[str]) -> None:
    nodes = [
        node("Relu", "a", "t"),
        node("Add", "t b", "y"),
        node("Shape", "y", "s"),
        node("Expand", "c s", "z"),
    ]
    outputs = {"y": (2,), "z": None}
    model = graph(nodes, dict.fromkeys("abc", (2,)), outputs, {})
    assert inputs_before(model.graph, {"a", "b", "c"})(value) == expected


def test_branches_depend_on_what_they_read(tmp_path: Path) -> None:
    model = onnx.load(small_models.branches(tmp_path / "m.onnx"))
    assert inputs_before(model.graph, {"x"})("y") == {"x"}
    model.graph.node[-1].input[0] = "zero"  # the condition no longer depends on x; the branches do
    assert inputs_before(model.graph, {"x"})("y") == {"x"}
