"""What model files of other people are run on: the batch axis is found, and inputs of every type are drawn."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import graph, node, save
from helpers.parity import check, find, verify
from helpers.small_models import Port, Shape, one_node, typed
from onnx import TensorProto

from exporter.errors import UsageError
from exporter.onnx_io.signature import read_signature
from exporter.parity.discovery import find_inputs
from exporter.parity.sources import FileSource
from exporter.types import InputOptions, ParityOptions
from exporter.workflows.verify import verify_parity

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def test_the_only_output_of_an_empty_input_is_no_finite_number_and_passes(tmp_path: Path) -> None:
    made = node("ReduceMax", "x a", "y")
    inputs: dict[str, Port] = {"x": (FLOAT, [2, 0, 4]), "a": (INT64, [1])}
    report = check(typed(tmp_path / "m.onnx", [made], inputs, {"y": (FLOAT, [2, 1, 4])}))
    assert report.passed
    assert any("does not depend on the input" in note for note in report.notes)


def test_a_first_axis_is_the_batch_where_its_items_do_not_interact(tmp_path: Path) -> None:
    path = one_node(tmp_path / "m.onnx", node("Softmax", "x", "y", axis=1), ["n", 4], ["m", 4])
    inputs = find(path)
    assert inputs.batched
    assert inputs.select([0])["x"].shape == (1, 4)
    assert {row.batch for row in check(path).comparisons} == {1, 2, 3}


@pytest.mark.parametrize("size", ["n", 3])
@pytest.mark.parametrize("operator", ["softmax over the batch", "running sum", "reversed"])
def test_items_that_influence_each_other_are_compared_together(operator: str, size: int | str, tmp_path: Path) -> None:
    made = {
        "softmax over the batch": node("Softmax", "x", "y", axis=0),
        "running sum": node("CumSum", "x zero", "y"),
        "reversed": node("Slice", "x last first zero minus", "y"),
    }[operator]
    constants = {"zero": np.array([0]), "last": np.array([-1]), "first": np.array([-100]), "minus": np.array([-1])}
    used = {name: value for name, value in constants.items() if name in made.input}
    if operator == "running sum":
        used = {"zero": np.array(0)}
    path = one_node(tmp_path / "m.onnx", made, [size, 4], [size, 4], **used)
    inputs = find(path)
    assert not inputs.batched
    assert inputs.select([0])["x"].shape == (4 if size == "n" else 3, 4)
    report = check(path)
    assert report.passed
    assert {row.batch for row in report.comparisons} == {1}


def test_items_that_interact_on_some_inputs_only_are_compared_together(tmp_path: Path) -> None:
    """A condition on the whole batch, which the inputs that confirm the batch decide alike."""
    nodes = [
        node("ReduceMax", "x", "m", keepdims=0),
        node("Greater", "m limit", "c"),
        node("Where", "c x minus", "y"),
    ]
    constants = {"limit": np.array(300, np.float32), "minus": np.array(-1, np.float32)}
    path = save(tmp_path / "m.onnx", graph(nodes, {"x": (2, 4)}, {"y": (2, 4)}, constants))
    assert find(path).batched  # random, uniform and saturated: none is above the limit
    report = check(path)
    assert report.passed
    assert {row.batch for row in report.comparisons} == {1}
    faulty = save(
        tmp_path / "f.onnx",
        graph(nodes, {"x": (2, 4)}, {"y": (2, 4)}, {**constants, "minus": np.array(-2, np.float32)}),
    )
    assert not verify(faulty, path).passed


def test_an_index_that_happens_to_be_that_of_its_own_item_confirms_no_batch(tmp_path: Path) -> None:
    shape: Port = (FLOAT, [2, 3])
    inputs: dict[str, Port] = {"x": shape, "i": (INT64, [2, 1])}
    path = typed(tmp_path / "m.onnx", [node("GatherND", "x i", "y")], inputs, {"y": shape})
    for seed in range(8):
        source = FileSource(path, "onnx")
        assert not find_inputs(source, read_signature(path), ParityOptions(seed=seed)).batched


@pytest.mark.parametrize("operator", ["Trilu", "GatherND"])
def test_integers_of_items_that_influence_each_other_are_compared_together(operator: str, tmp_path: Path) -> None:
    """Few values make items agree by chance: zeros behind a mask, or a row that every item looks up."""
    if operator == "Trilu":
        made, names, output = node("Trilu", "x", "y", upper=0), ("x",), [4, 5]
    else:
        made, names, output = node("GatherND", "x i", "y"), ("x", "i"), [4]
    inputs: dict[str, Port] = {name: (INT64, [4, 5] if name == "x" else [4, 2]) for name in names}
    path = typed(tmp_path / "m.onnx", [made], inputs, {"y": (INT64, [*output])})
    assert not find(path).batched
    assert check(path).passed


def test_a_fixed_first_axis_is_the_batch_where_its_items_do_not_interact(tmp_path: Path) -> None:
    path = one_node(tmp_path / "m.onnx", node("Softmax", "x", "y", axis=1), [3, 4], [3, 4])
    inputs = find(path)
    assert inputs.batched
    assert inputs.fill(0, 3) == (0, 0, 0)
    assert {row.batch for row in check(path).comparisons} == {3}


def test_an_input_without_a_batch(tmp_path: Path) -> None:
    path = typed(
        tmp_path / "m.onnx",
        [node("Mul", "x k", "y")],
        {"x": (FLOAT, ["n", 4, 2]), "k": (FLOAT, [4, 1])},
        {"y": (FLOAT, ["n", 4, 2])},
    )
    assert {name: values.shape for name, values in find(path).select([0]).items()} == {"x": (4, 4, 2), "k": (4, 1)}
    assert check(path).passed


def test_a_sequence_that_is_wrong_from_its_third_step_fails(tmp_path: Path) -> None:
    right = running_sum(tmp_path / "right.onnx", limit=10)
    wrong = running_sum(tmp_path / "wrong.onnx", limit=2)
    (report,) = verify_parity([wrong], ParityOptions(against=right))
    assert not report.passed


def running_sum(path: Path, limit: int) -> Path:
    """Sums over the first axis, never above the sum of the first `limit` steps."""
    nodes = [
        node("Slice", "x start stop", "few"),
        node("CumSum", "x axis", "all"),
        node("ReduceSum", "few axes", "sum"),
        node("Min", "all sum", "y"),
    ]
    constants = {"start": np.array([0]), "stop": np.array([limit]), "axis": np.array(0), "axes": np.array([0])}
    return typed(path, nodes, {"x": (FLOAT, ["t", 3])}, {"y": (FLOAT, ["t", 3])}, **constants)


def test_a_number_of_rows_that_depends_on_the_data(tmp_path: Path) -> None:
    nodes = [node("NonZero", "x", "i"), node("Transpose", "i", "y")]
    path = typed(tmp_path / "m.onnx", nodes, {"x": (FLOAT, ["n", 4])}, {"y": (INT64, ["k", 2])})
    report = check(path)
    assert report.passed
    assert "zeros" in {row.input for row in report.comparisons}  # an output of no rows


def test_inputs_on_which_no_default_runs_name_the_options(tmp_path: Path) -> None:
    nodes = [node("Gather", "t i", "a"), node("Reshape", "a s", "y")]  # takes 77 indices
    path = typed(
        tmp_path / "m.onnx",
        nodes,
        {"i": (INT64, ["n"])},
        {"y": (FLOAT, [7, 11])},
        t=np.ones(1, np.float32),
        s=np.array([7, 11]),
    )
    with pytest.raises(UsageError, match=r"--shape NAME=.*--feed NAME=FILE\|VALUE\|RANGE.*--no-verify"):
        find(path)
    assert find(path, InputOptions({"i": (77,)})).select([0])["i"].shape == (77,)


def test_a_model_without_inputs(tmp_path: Path) -> None:
    path = typed(tmp_path / "m.onnx", [node("Identity", "t", "y")], {}, {"y": (FLOAT, [2])}, t=np.ones(2, np.float32))
    assert find(path).names == ("no inputs",)


def test_a_model_that_is_wrong_for_one_integer_fails(tmp_path: Path) -> None:
    shapes: tuple[Shape, ...] = ([], ["n"], ["n", 3])
    for shape in shapes:
        values: dict[str, Port] = {"x": (INT64, shape)}
        right = typed(tmp_path / "right.onnx", [node("Identity", "x", "y")], values, {"y": (INT64, shape)})
        wrong = typed(
            tmp_path / "wrong.onnx",
            [node("Equal", "x seven", "is"), node("Where", "is zero x", "y")],
            values,
            {"y": (INT64, shape)},
            seven=np.array(7),
            zero=np.array(0),
        )
        (report,) = verify_parity([wrong], ParityOptions(against=right))
        assert not report.passed


def test_a_size_that_onnxruntime_infers_wrongly_is_the_one_that_the_file_states(tmp_path: Path) -> None:
    pool = node("MaxPool", "x", "y", kernel_shape=[1], strides=[3], ceil_mode=1)
    made = graph([pool], {"x": ("n", 1, 5)}, {"y": ("n", 1, 2)}, {}, 11)
    onnx.save(made, tmp_path / "m.onnx")
    assert check(tmp_path / "m.onnx").passed
