"""Local functions are counted as if they were expanded, without expanding them."""

from pathlib import Path

import onnx
import pytest
from helpers.hostile_files import function_bomb, save_onnx
from onnx import helper

from exporter.errors import LimitError
from exporter.onnx_io.load import load_with_weights, load_without_weights
from exporter.onnx_io.message_limits import require_expandable

IMPORTS = [helper.make_opsetid("", 21), helper.make_opsetid("d", 1)]


def chain(path: Path, names: list[tuple[str, str]]) -> onnx.ModelProto:
    """Write functions that each call another one; the model calls the first."""
    functions = [
        helper.make_function("d", name, ["a"], ["b"], [helper.make_node(called, ["a"], ["b"], domain="d")], IMPORTS)
        for name, called in names
    ]
    node = helper.make_node(names[0][0], ["x"], ["y"], domain="d")
    save_onnx(path, [node], {}, functions=functions, opset_imports=[helper.make_opsetid("d", 1)])
    return onnx.load(path)


@pytest.mark.parametrize("load", [load_without_weights, load_with_weights])
def test_functions_that_expand_exponentially_are_refused_before_any_work(load: object, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    function_bomb(path)
    with pytest.raises(
        LimitError, match=r"m\.onnx: its local functions expand to 1\.1e\+12 nodes, more than 1,000,000"
    ):
        load(path)  # type: ignore[operator] # pyright: ignore


def test_as_many_nodes_as_anything_can_work_with_are_accepted(tmp_path: Path) -> None:
    function_bomb(tmp_path / "m.onnx", depth=19)  # 2 ** 19 of them
    assert len(load_without_weights(tmp_path / "m.onnx").functions) == 19


def test_deep_nesting_is_refused_although_it_is_small(tmp_path: Path) -> None:
    names = [(f"F{level}", f"F{level + 1}") for level in range(1000)]
    chain(tmp_path / "m.onnx", names)
    with pytest.raises(LimitError, match="more than 400 deep"):
        load_without_weights(tmp_path / "m.onnx")


def test_functions_that_call_each_other_in_a_circle_are_left_to_the_checker(tmp_path: Path) -> None:
    require_expandable(chain(tmp_path / "m.onnx", [("F0", "F1"), ("F1", "F0")]), "m.onnx")
    require_expandable(chain(tmp_path / "m.onnx", [("F0", "F0")]), "m.onnx")
