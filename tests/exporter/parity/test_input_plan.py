"""The sizes and values that inputs of a model file are drawn with: its own, the user's, or the first that it accepts."""

import math
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import node
from helpers.parity import check, find, verify
from helpers.small_models import Port, Shape, one_node, typed
from onnx import TensorProto

from exporter.errors import LimitError, UsageError
from exporter.onnx_io.signature import read_signature
from exporter.types import InputOptions, ValueRange

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def test_negative_sizes_are_free(tmp_path: Path) -> None:
    path = one_node(tmp_path / "m.onnx", node("Relu", "x", "y"), ["n", 2, "h"], ["n", 2, "h"])
    raw = onnx.load(path)
    dims = raw.graph.input[0].type.tensor_type.shape.dim
    dims[0].dim_value, dims[2].dim_value = -1, -1
    onnx.save(raw, path)
    assert read_signature(path).inputs[0].shape == ("?", 2, "?")
    inputs = find(path)
    assert inputs.select([0])["x"].shape == (1, 2, 32)
    assert "shape 1x2x32 (--shape changes it)" in inputs.notes[0]
    assert check(path).passed


def lookup(path: Path, rows: int, *, direct: bool = True) -> Path:
    """Rows of a table by index; directly, or by an index that a node passes on."""
    table = np.random.default_rng(0).standard_normal((rows, 6)).astype(np.float32)
    nodes = [node("Gather", "t i", "y")] if direct else [node("Abs", "i", "j"), node("Gather", "t j", "y")]
    return typed(path, nodes, {"i": (INT64, ["n", 5])}, {"y": (FLOAT, ["n", 5, 6])}, t=table)


@pytest.mark.parametrize(("rows", "largest"), [(50, 9), (4, 1), (1, 0)])
def test_indices_are_drawn_from_the_first_range_that_the_model_accepts(rows: int, largest: int, tmp_path: Path) -> None:
    path = lookup(tmp_path / "m.onnx", rows, direct=False)
    inputs = find(path)
    assert {int(index) for feed in inputs.feeds for index in feed["i"].flat} == {*range(largest + 1)}
    assert {*inputs.names} == {"random", "saturated", "zeros", "constant"}
    assert "--feed changes them" in inputs.notes[0]
    assert check(path).passed


def test_the_user_gives_the_range_or_the_value(tmp_path: Path) -> None:
    path = lookup(tmp_path / "m.onnx", 50)
    inputs = find(path, InputOptions(feeds={"i": ValueRange(40, 49)}))
    assert {int(index) for feed in inputs.feeds for index in feed["i"].flat} <= {*range(40, 50)}
    np.save(tmp_path / "i.npy", np.full((3, 5), 7))
    whole = find(path, InputOptions(feeds={"i": tmp_path / "i.npy"}), ("random",))
    assert whole.select([0])["i"].tolist() == [[7] * 5] * 3
    with pytest.raises(UsageError, match="indices element out of data bounds"):
        check(path, InputOptions(feeds={"i": ValueRange(60, 70)}))
    with pytest.raises(UsageError, match="--feed j: no such input; there are i"):
        check(path, InputOptions(feeds={"j": ValueRange(0, 1)}))


@pytest.mark.parametrize(
    ("dtype", "given"),
    [
        (INT64, (0, 2**63)),
        (TensorProto.UINT8, (-1, 5)),
        (FLOAT, (0, math.inf)),
        (TensorProto.FLOAT16, (0, 65505)),
        (TensorProto.BFLOAT16, (-3.4e38, 0)),
        (TensorProto.FLOAT8E4M3FN, (449, 449)),
    ],
)
def test_numbers_that_the_dtype_does_not_have_are_refused(
    dtype: int, given: tuple[float, float], tmp_path: Path
) -> None:
    path = typed(tmp_path / "m.onnx", [node("Identity", "x", "y")], {"x": (dtype, ["n", 3])}, {"y": (dtype, ["n", 3])})
    with pytest.raises(UsageError, match="--feed x=.* holds numbers of"):
        check(path, InputOptions(feeds={"x": ValueRange(*given)}))


@pytest.mark.parametrize(
    ("dtype", "drawn"),
    [
        (TensorProto.UINT8, "integers 0..255"),
        (TensorProto.INT32, "integers 0..9"),
        (TensorProto.BOOL, None),
        (TensorProto.STRING, "digits 0..9"),
        (TensorProto.DOUBLE, None),
        (TensorProto.BFLOAT16, None),
        (TensorProto.FLOAT8E4M3FN, None),
        (TensorProto.INT4, "integers -8..7"),
    ],
)
@pytest.mark.parametrize("shape", [["n", 3], []])
def test_inputs_of_every_type_and_rank_are_drawn(dtype: int, drawn: str | None, shape: Shape, tmp_path: Path) -> None:
    path = typed(tmp_path / "m.onnx", [node("Cast", "x", "y", to=FLOAT)], {"x": (dtype, shape)}, {"y": (FLOAT, shape)})
    report = check(path)
    assert report.passed, report.notes
    assert (drawn is not None and drawn in " ".join(report.notes)) or (
        drawn is None and "chosen for" not in " ".join(report.notes)
    )


def test_an_input_of_unstated_rank_needs_its_shape(tmp_path: Path) -> None:
    path = typed(tmp_path / "m.onnx", [node("Relu", "x", "y")], {"x": (FLOAT, ["n"])}, {"y": (FLOAT, ["n"])})
    unstated = onnx.load(path)
    unstated.graph.input[0].type.tensor_type.ClearField("shape")
    unstated.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(unstated, path)
    with pytest.raises(UsageError, match="its rank is not stated; give its shape as --shape x="):
        find(path)
    options = InputOptions(shapes={"x": (2, 3, 4)})
    assert find(path, options).select([0])["x"].shape == (2, 3, 4)
    assert check(path, options).passed


def test_rows_of_arrays_are_whole_inputs_where_there_is_no_batch(tmp_path: Path) -> None:
    path = one_node(tmp_path / "m.onnx", node("Softmax", "x", "y", axis=0), [3, 2], [3, 2])
    np.savez(tmp_path / "one.npz", x=np.zeros((3, 2)))
    np.savez(tmp_path / "two.npz", x=np.zeros((2, 3, 2)))
    inputs = find(path, InputOptions(arrays=(tmp_path / "one.npz", tmp_path / "two.npz")), ("zeros",))
    assert inputs.names == ("zeros", "one.npz", "two.npz row 0", "two.npz row 1")
    assert {feed["x"].shape for feed in inputs.feeds} == {(3, 2)}


def test_a_size_of_0_is_meant_unless_the_user_sets_it(tmp_path: Path) -> None:
    path = one_node(tmp_path / "m.onnx", node("Relu", "x", "y"), [2, "h"], [2, "h"])
    raw = onnx.load(path)
    raw.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 0
    onnx.save(raw, path)
    assert find(path).select([0])["x"].shape == (1, 0)


@pytest.mark.parametrize("shape", [["n"], ["n", 2], [4], []])
def test_divisors_are_drawn_without_zero(shape: Shape, tmp_path: Path) -> None:
    drawn: Port = (INT64, shape)
    path = typed(
        tmp_path / "m.onnx", [node("Abs", "b", "c"), node("Div", "a c", "y")], {"a": drawn, "b": drawn}, {"y": drawn}
    )
    assert {int(value) for feed in find(path).feeds for value in feed["b"].flat} == {*range(1, 10)}
    assert check(path).passed


def test_a_failure_on_a_drawn_value_names_the_option(tmp_path: Path) -> None:
    path = typed(
        tmp_path / "m.onnx",
        [node("Cast", "b", "c", to=INT64), node("Abs", "c", "d"), node("Div", "a d", "y")],
        {"b": (TensorProto.INT8, [4])},
        {"y": (INT64, [4])},
        a=np.array(100),
    )
    report = check(path)
    assert report.passed
    assert any(
        re.search(r"division by zero.*b int8 \(4\): integers -128..127 \(--feed changes them\)", n)
        for n in report.notes
    )
    assert check(path, InputOptions(feeds={"b": ValueRange(1, 9)})).passed


def test_a_batch_of_the_user_is_run_too_and_a_fixed_one_is_not_replaced(tmp_path: Path) -> None:
    free = one_node(tmp_path / "free.onnx", node("Relu", "x", "y"), ["n", 4], ["n", 4])
    report = check(free, InputOptions(shapes={"x": (7, 4)}))
    assert {row.batch for row in report.comparisons} == {1, 2, 3, 7}
    fixed = one_node(tmp_path / "fixed.onnx", node("Relu", "x", "y"), [2, 4], [2, 4])
    with pytest.raises(UsageError, match=r"--shape x=7x4 does not fit x float32 \(2, 4\)"):
        check(fixed, InputOptions(shapes={"x": (7, 4)}))


@pytest.mark.parametrize("limit", [50, -50])
def test_integers_that_are_calculated_with_are_also_drawn_far_from_zero(limit: int, tmp_path: Path) -> None:
    """A model that is wrong beyond a limit fails, which numbers from 0 to 9 do not show."""
    ends = ("Min", "Max") if limit > 0 else ("Max", "Min")
    port: Port = (INT64, ["n", 4])
    ports = {"x": port}, {"y": port}
    right = typed(tmp_path / "right.onnx", [node("Add", "x one", "y")], *ports, one=np.array(1))
    nodes = [node(ends[0], "x limit", "c"), node("Add", "c one", "y")]
    wrong = typed(tmp_path / "wrong.onnx", nodes, *ports, one=np.array(1), limit=np.array(limit))
    assert check(right).passed
    assert not verify(wrong, right).passed


def test_indices_reach_every_row_of_a_table_through_a_cast(tmp_path: Path) -> None:
    table = np.arange(300, dtype=np.float32).reshape(100, 3)
    nodes = [node("Cast", "ids", "wide", to=INT64), node("Gather", "table wide", "y")]
    path = typed(
        tmp_path / "m.onnx",
        nodes,
        {"ids": (TensorProto.INT32, ["n", 40])},
        {"y": (FLOAT, ["n", 40, 3])},
        table=table,
    )
    drawn = np.concatenate([feed["ids"].reshape(-1) for feed in find(path).feeds])
    assert {*drawn.tolist()} == {*range(100)}


def test_an_output_of_one_label_is_compared_on_more_inputs(tmp_path: Path) -> None:
    made = node("ArgMax", "x", "y", axis=1, keepdims=0)
    path = typed(tmp_path / "m.onnx", [made], {"x": (FLOAT, ["n", 4])}, {"y": (INT64, ["n"])})
    maps = typed(tmp_path / "maps.onnx", [made], {"x": (FLOAT, ["n", 4, 6])}, {"y": (INT64, ["n", 6])})
    assert len(find(path).names) >= 32 > len(find(maps).names)


def test_rows_of_an_array_are_not_changed_by_a_feed_and_a_note_says_so(tmp_path: Path) -> None:
    path = one_node(tmp_path / "m.onnx", node("Relu", "x", "y"), ["n", 4], ["n", 4])
    np.savez(tmp_path / "rows.npz", x=np.full((1, 4), 5, np.float32))
    inputs = find(path, InputOptions(feeds={"x": ValueRange(0, 1)}, arrays=(tmp_path / "rows.npz",)))
    assert inputs.feeds[-1]["x"].tolist() == [[5.0] * 4]
    assert any("--feed does not apply" in note for note in inputs.notes)


def test_sizes_that_no_memory_holds_are_a_limit(tmp_path: Path) -> None:
    path = one_node(tmp_path / "m.onnx", node("Relu", "x", "y"), [2**62, 3], [2**62, 3])
    with pytest.raises(LimitError, match="more than any memory holds"):
        check(path)


def test_free_sizes_that_are_large_whatever_is_tried_are_asked_for(tmp_path: Path) -> None:
    path = one_node(tmp_path / "m.onnx", node("Relu", "x", "y"), ["n", "h", 2**26], ["n", "h", 2**26])
    with pytest.raises(UsageError, match="--shape"):
        check(path)
