"""What model files of other people are run on: the batch axis is found, and inputs of every type are drawn."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers import small_models
from helpers.graphs import node
from onnx import TensorProto, helper

from exporter.errors import CheckFailedError, UsageError
from exporter.onnx_io.signature import read_signature
from exporter.parity.discovery import find_inputs
from exporter.parity.inputs import InputSet
from exporter.parity.sources import FileSource
from exporter.results import ParityReport
from exporter.types import InputOptions, ParityOptions, ValueRange
from exporter.workflows.verify import verify_parity

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
Shape = list[int | str]


def model(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, Shape]],
    outputs: dict[str, tuple[int, Shape]],
    **constants: np.ndarray,
) -> Path:
    sides = [[helper.make_tensor_value_info(name, *spec) for name, spec in side.items()] for side in (inputs, outputs)]
    return small_models.save(path, nodes, sides[0], sides[1], constants, opset=21)


def find(path: Path, options: InputOptions | None = None, types: tuple[str, ...] | None = None) -> InputSet:
    parity = ParityOptions(inputs=options or InputOptions(), input_types=types)
    return find_inputs(FileSource(path, "onnx"), read_signature(path), parity)


def check(path: Path, options: InputOptions | None = None) -> ParityReport:
    """Compare a file with itself."""
    (report,) = verify_parity([path], ParityOptions(against=path, inputs=options or InputOptions()))
    return report


def one_to_one(path: Path, made: onnx.NodeProto, shape: Shape, output: Shape, **constants: np.ndarray) -> Path:
    return model(path, [made], {"x": (FLOAT, shape)}, {"y": (FLOAT, output)}, **constants)


def test_the_only_output_of_an_empty_input_is_no_finite_number_and_passes(tmp_path: Path) -> None:
    made = node("ReduceMax", "x a", "y")
    inputs: dict[str, tuple[int, Shape]] = {"x": (FLOAT, [2, 0, 4]), "a": (INT64, [1])}
    report = check(model(tmp_path / "m.onnx", [made], inputs, {"y": (FLOAT, [2, 1, 4])}))
    assert report.passed
    assert any("does not depend on the input" in note for note in report.notes)


def test_a_first_axis_is_the_batch_where_its_items_do_not_interact(tmp_path: Path) -> None:
    path = one_to_one(tmp_path / "m.onnx", node("Softmax", "x", "y", axis=1), ["n", 4], ["m", 4])
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
    path = one_to_one(tmp_path / "m.onnx", made, [size, 4], [size, 4], **used)
    inputs = find(path)
    assert not inputs.batched
    assert inputs.select([0])["x"].shape == (4 if size == "n" else 3, 4)
    report = check(path)
    assert report.passed
    assert {row.batch for row in report.comparisons} == {1}


def test_an_index_that_happens_to_be_that_of_its_own_item_confirms_no_batch(tmp_path: Path) -> None:
    shape: tuple[int, Shape] = (FLOAT, [2, 3])
    inputs: dict[str, tuple[int, Shape]] = {"x": shape, "i": (INT64, [2, 1])}
    path = model(tmp_path / "m.onnx", [node("GatherND", "x i", "y")], inputs, {"y": shape})
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
    inputs: dict[str, tuple[int, Shape]] = {name: (INT64, [4, 5] if name == "x" else [4, 2]) for name in names}
    path = model(tmp_path / "m.onnx", [made], inputs, {"y": (INT64, [*output])})
    assert not find(path).batched
    assert check(path).passed


def test_a_fixed_first_axis_is_the_batch_where_its_items_do_not_interact(tmp_path: Path) -> None:
    path = one_to_one(tmp_path / "m.onnx", node("Softmax", "x", "y", axis=1), [3, 4], [3, 4])
    inputs = find(path)
    assert inputs.batched
    assert inputs.fill(0, 3) == (0, 0, 0)
    assert {row.batch for row in check(path).comparisons} == {3}


def test_an_input_without_a_batch(tmp_path: Path) -> None:
    path = model(
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
    return model(path, nodes, {"x": (FLOAT, ["t", 3])}, {"y": (FLOAT, ["t", 3])}, **constants)


def test_a_number_of_rows_that_depends_on_the_data(tmp_path: Path) -> None:
    nodes = [node("NonZero", "x", "i"), node("Transpose", "i", "y")]
    path = model(tmp_path / "m.onnx", nodes, {"x": (FLOAT, ["n", 4])}, {"y": (INT64, ["k", 2])})
    report = check(path)
    assert report.passed
    assert "zeros" in {row.input for row in report.comparisons}  # an output of no rows


def test_negative_sizes_are_free(tmp_path: Path) -> None:
    path = one_to_one(tmp_path / "m.onnx", node("Relu", "x", "y"), ["n", 2, "h"], ["n", 2, "h"])
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
    return model(path, nodes, {"i": (INT64, ["n", 5])}, {"y": (FLOAT, ["n", 5, 6])}, t=table)


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
    ("dtype", "given"), [(INT64, (0, 2**63)), (TensorProto.UINT8, (-1, 5)), (FLOAT, (0, math.inf))]
)
def test_numbers_that_the_dtype_does_not_have_are_refused(
    dtype: int, given: tuple[float, float], tmp_path: Path
) -> None:
    path = model(tmp_path / "m.onnx", [node("Identity", "x", "y")], {"x": (dtype, ["n", 3])}, {"y": (dtype, ["n", 3])})
    with pytest.raises(UsageError, match="--feed x=.* holds numbers of"):
        check(path, InputOptions(feeds={"x": ValueRange(*given)}))


def test_inputs_on_which_no_default_runs_name_the_options(tmp_path: Path) -> None:
    nodes = [node("Gather", "t i", "a"), node("Reshape", "a s", "y")]  # takes 77 indices
    path = model(
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
    path = model(tmp_path / "m.onnx", [node("Cast", "x", "y", to=FLOAT)], {"x": (dtype, shape)}, {"y": (FLOAT, shape)})
    report = check(path)
    assert report.passed, report.notes
    assert (drawn is not None and drawn in " ".join(report.notes)) or (
        drawn is None and "chosen for" not in " ".join(report.notes)
    )


def test_an_input_of_unstated_rank_needs_its_shape(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [node("Relu", "x", "y")], {"x": (FLOAT, ["n"])}, {"y": (FLOAT, ["n"])})
    unstated = onnx.load(path)
    unstated.graph.input[0].type.tensor_type.ClearField("shape")
    unstated.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(unstated, path)
    with pytest.raises(UsageError, match="its rank is not stated; give its shape as --shape x="):
        find(path)
    options = InputOptions(shapes={"x": (2, 3, 4)})
    assert find(path, options).select([0])["x"].shape == (2, 3, 4)
    assert check(path, options).passed


def test_a_model_without_inputs(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [node("Identity", "t", "y")], {}, {"y": (FLOAT, [2])}, t=np.ones(2, np.float32))
    assert find(path).names == ("no inputs",)


def test_rows_of_arrays_are_whole_inputs_where_there_is_no_batch(tmp_path: Path) -> None:
    path = one_to_one(tmp_path / "m.onnx", node("Softmax", "x", "y", axis=0), [3, 2], [3, 2])
    np.savez(tmp_path / "one.npz", x=np.zeros((3, 2)))
    np.savez(tmp_path / "two.npz", x=np.zeros((2, 3, 2)))
    inputs = find(path, InputOptions(arrays=(tmp_path / "one.npz", tmp_path / "two.npz")), ("zeros",))
    assert inputs.names == ("zeros", "one.npz", "two.npz row 0", "two.npz row 1")
    assert all(feed["x"].shape == (3, 2) for feed in inputs.feeds)


def test_a_size_of_0_is_meant_unless_the_user_sets_it(tmp_path: Path) -> None:
    path = one_to_one(tmp_path / "m.onnx", node("Relu", "x", "y"), [2, "h"], [2, "h"])
    raw = onnx.load(path)
    raw.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 0
    onnx.save(raw, path)
    assert find(path).select([0])["x"].shape == (1, 0)


@pytest.mark.parametrize("shape", [["n"], ["n", 2], [4], []])
def test_divisors_are_drawn_without_zero(shape: Shape, tmp_path: Path) -> None:
    drawn: tuple[int, Shape] = (INT64, shape)
    path = model(
        tmp_path / "m.onnx", [node("Abs", "b", "c"), node("Div", "a c", "y")], {"a": drawn, "b": drawn}, {"y": drawn}
    )
    assert {int(value) for feed in find(path).feeds for value in feed["b"].flat} == {*range(1, 10)}
    assert check(path).passed


def test_a_model_that_is_wrong_for_one_integer_fails(tmp_path: Path) -> None:
    shapes: tuple[Shape, ...] = ([], ["n"], ["n", 3])
    for shape in shapes:
        values: dict[str, tuple[int, Shape]] = {"x": (INT64, shape)}
        right = model(tmp_path / "right.onnx", [node("Identity", "x", "y")], values, {"y": (INT64, shape)})
        wrong = model(
            tmp_path / "wrong.onnx",
            [node("Equal", "x seven", "is"), node("Where", "is zero x", "y")],
            values,
            {"y": (INT64, shape)},
            seven=np.array(7),
            zero=np.array(0),
        )
        (report,) = verify_parity([wrong], ParityOptions(against=right))
        assert not report.passed


def test_a_failure_on_a_drawn_value_names_the_option(tmp_path: Path) -> None:
    path = model(
        tmp_path / "m.onnx",
        [node("Cast", "b", "c", to=INT64), node("Abs", "c", "d"), node("Div", "a d", "y")],
        {"b": (TensorProto.INT8, [4])},
        {"y": (INT64, [4])},
        a=np.array(100),
    )
    with pytest.raises(
        CheckFailedError, match=r"division by zero.*b int8 \(4\): integers -128..127 \(--feed changes them\)"
    ):
        check(path)
    assert check(path, InputOptions(feeds={"b": ValueRange(1, 9)})).passed


def test_a_sequence_is_refused_with_what_helps(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("x", FLOAT, [2])
    output = helper.make_tensor_value_info("y", FLOAT, [2])
    made = [node("SequenceAt", "x zero", "y")]
    path = small_models.save(tmp_path / "m.onnx", made, [sequence], [output], {"zero": np.array(0)}, opset=21)
    with pytest.raises(UsageError, match=r"x seq\(float32\): only tensors are fed.*--no-verify"):
        find(path)
