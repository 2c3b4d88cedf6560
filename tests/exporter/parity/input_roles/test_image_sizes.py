"""An input that holds an image's sizes is fed sizes, although the graph takes them apart first."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import make_model, node
from helpers.parity import check, find, verify
from onnx import TensorProto, helper


def port(name: str, dtype: int, shape: Any) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def branch(name: str, *nodes: onnx.NodeProto, outputs: str) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), name, [], [port(o, TensorProto.INT64, [1]) for o in outputs.split()])


def grid(path: Path, declared: Any, rank: int = 4, parts: str = "n h w axes") -> Path:
    """Write a model whose `s` is taken apart in a branch: x (2, 1, 1, 1) is expanded to the sizes of `parts`."""
    names = "n c h w" if rank == 4 else "n c d h w"
    taken = " ".join(f"{name}1" for name in names.split())
    split = branch("g", node("Split", "s", taken, num_outputs=rank), outputs=taken)
    other = branch(
        "e", *(node("Identity", "axes", f"{name}2") for name in names.split()), outputs=taken.replace("1", "2")
    )
    chosen = helper.make_node("If", ["always"], names.split(), then_branch=split, else_branch=other)
    nodes = [chosen, node("Concat", parts, "shape", axis=0), node("Expand", "x shape", "y")]
    inputs = [port("x", TensorProto.FLOAT, [2, *[1] * (rank - 1)]), port("s", TensorProto.INT64, [rank])]
    constants = {"axes": np.array([rank - 2]), "always": np.array(True)}
    onnx.save(make_model(nodes, inputs, [port("y", TensorProto.FLOAT, declared)], constants, 18), path)
    return path


@pytest.mark.parametrize(
    ("declared", "rank", "parts", "expected"),
    [
        ([2, 5, 6, 2], 4, "n h w axes", [2, 1, 5, 6]),
        ([2, 3, 5, 6, 3], 5, "n d h w axes", [2, 1, 3, 5, 6]),
        (["a", "b", "c", "d"], 4, "n h w axes", [2, 1, 4, 5]),
        ([2, 3, 5, 6], 4, "n c h w", [2, 3, 5, 6]),
    ],
)
def test_the_sizes_follow_from_the_output_or_are_small(
    declared: Any, rank: int, parts: str, expected: list[int], tmp_path: Path
) -> None:
    inputs = find(grid(tmp_path / "m.onnx", declared, rank, parts))
    assert {tuple(feed["s"].tolist()) for feed in inputs.feeds} == {tuple(expected)}


def test_such_a_model_passes_against_itself_and_another_order_fails(tmp_path: Path) -> None:
    theirs = grid(tmp_path / "theirs.onnx", [2, 5, 6, 2])
    report = check(theirs)
    assert report.passed
    assert any("s int64 (4): [2, 1, 5, 6], for sizes of images" in note for note in report.notes)
    assert not verify(grid(tmp_path / "mine.onnx", [2, "a", "b", 2], parts="n w h axes"), theirs).passed


def test_numbers_that_become_no_shape_are_drawn(tmp_path: Path) -> None:
    nodes = [node("Cast", "s", "f", to=TensorProto.FLOAT), node("Add", "x f", "y")]
    inputs = [port("x", TensorProto.FLOAT, [2, 4]), port("s", TensorProto.INT64, [4])]
    onnx.save(make_model(nodes, inputs, [port("y", TensorProto.FLOAT, [2, 4])], {}, 18), path := tmp_path / "m.onnx")
    assert len({tuple(feed["s"].tolist()) for feed in find(path).feeds}) > 1
