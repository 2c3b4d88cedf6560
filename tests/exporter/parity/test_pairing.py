"""Outputs that agree in another order are found."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import graph, node, normal, save

from exporter.errors import UsageError
from exporter.parity.input_set import InputBatch
from exporter.parity.pairing import find_pairing
from exporter.results import ParityReport
from exporter.types import ParityOptions
from exporter.workflows.verify import verify_parity

BATCH = InputBatch("random", (0,))


def pairing(values: dict[str, float], expected: dict[str, float]) -> dict[str, str] | None:
    batches = [(BATCH, {name: np.array([value]) for name, value in values.items()})]
    return find_pairing(batches, list(expected), lambda _, name, found: bool(found[0] == expected[name]))


def test_another_order_is_found() -> None:
    assert pairing({"a": 2, "b": 3, "c": 1}, {"a": 1, "b": 2, "c": 3}) == {"a": "c", "b": "a", "c": "b"}


def test_outputs_that_fit_several_are_shared_out() -> None:
    found = pairing({"a": 1, "b": 1, "c": 2}, {"a": 2, "b": 1, "c": 1})
    assert found is not None
    assert found["a"] == "c"
    assert {found["b"], found["c"]} == {"a", "b"}


@pytest.mark.parametrize("values", [{"a": 1, "b": 2}, {"a": 2, "b": 2}, {"a": 3, "b": 1}, {"a": 1}])
def test_nothing_is_proposed_where_nothing_is_better(values: dict[str, float]) -> None:
    assert pairing(values, {"a": 1, "b": 2}) is None


def two_outputs(path: Path, names: tuple[str, str]) -> Path:
    nodes = [node("MatMul", "x w", names[0]), node("MatMul", "x v", names[1])]
    if names == ("p", "q"):
        nodes.reverse()
    outputs = {made.output[0]: ["n", 4] for made in nodes}
    return save(path, graph(nodes, {"x": ["n", 3]}, outputs, {"w": normal(3, 4), "v": normal(3, 4, seed=1)}))


def check(mine: Path, theirs: Path, *pairs: tuple[str, str]) -> ParityReport:
    options = ParityOptions(against=theirs, input_types=("random", "uniform"), pairs=pairs)
    return verify_parity([mine], options)[0]


def test_renamed_and_reordered_outputs_fail_with_a_hint_that_helps(tmp_path: Path) -> None:
    theirs = two_outputs(tmp_path / "theirs.onnx", ("p", "q"))
    mine = two_outputs(tmp_path / "mine.onnx", ("one", "two"))
    assert [value.name for value in onnx.load(theirs).graph.output] == ["q", "p"]
    report = check(mine, theirs)
    assert not report.passed
    assert "the outputs agree when they are paired otherwise: --map q=two --map p=one" in report.notes
    assert check(mine, theirs, ("q", "two")).passed
    with pytest.raises(UsageError, match="--map needs --against FILE"):
        verify_parity([mine], ParityOptions(pairs=(("q", "two"),)))
