"""What model files are run on: the batch axis is found, inputs of every type are drawn, and stated by another file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers import small_models
from helpers.code_files import own
from helpers.graphs import graph, node, save
from helpers.parity import FEW, check, find, verify
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


def test_free_sizes_are_the_users_or_the_first_default_that_the_model_accepts(theirs: Path, tmp_path: Path) -> None:
    dynamic = small_models.network(tmp_path / "dynamic.onnx", sizes=("h", "w"))
    report = verify(dynamic, dynamic, input_types=FEW)  # its linear layer accepts 8x8 only
    assert report.passed
    assert "x float32 (n, 3, h, w): shape 1x3x8x8 (--shape changes it)" in report.notes[1]
    assert verify(theirs, dynamic, {"x": (1, 3, 8, 8)}, input_types=FEW).passed
    assert verify(dynamic, theirs, input_types=FEW).passed
    with pytest.raises(UsageError, match="--shape y: no such input; there are x"):
        verify(dynamic, theirs, {"y": (1, 3, 8, 8)})
    with pytest.raises(UsageError, match=r"--shape x=1x3x9x9 does not fit x float32 \(n, 3, 8, 8\)"):
        verify(dynamic, theirs, {"x": (1, 3, 9, 9)})


class Small(torch.nn.Module):
    """The same network as `small_models.network`, in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Conv2d(6, 8, 3, padding=1)
        self.linear = torch.nn.Linear(128, 7)
        for module, number in ((self.conv1, 1), (self.conv2, 2), (self.linear, 3)):
            weights = small_models.weights()
            module.weight.data = torch.from_numpy(weights[f"w{number}"])
            module.get_parameter("bias").data = torch.from_numpy(weights[f"b{number}"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, 8, 8) -> (N, 7)."""
        x = torch.max_pool2d(torch.relu(self.conv1(x)), 2)
        return self.linear(torch.flatten(torch.relu(self.conv2(x)), 1))


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_torchscript_is_compared_with_onnx_and_onnx_with_torchscript(theirs: Path, tmp_path: Path) -> None:
    archive, fault = (
        tmp_path / "mine.pt",
        small_models.network(tmp_path / "f.onnx", change=small_models.scaled("w2", 1.001)),
    )
    torch.jit.save(torch.jit.script(Small().eval()), str(archive))  # pyright: ignore
    own(archive)
    assert verify(archive, theirs, input_types=FEW).passed
    assert verify(theirs, archive, {"x": (1, 3, 8, 8)}, input_types=FEW, localize=True).passed
    assert verify(theirs, archive, input_types=FEW).passed  # with the shapes that theirs.onnx states
    with pytest.raises(UsageError, match="x float32 .*its rank is not stated; give its shape as --shape x="):
        verify(archive, archive)
    report = verify(archive, fault, input_types=FEW, localize=True)
    assert not report.passed
    assert report.localization is not None
    assert report.localization.first == "conv2"
    backwards = verify(fault, archive, {"x": (1, 3, 8, 8)}, input_types=FEW, localize=True)
    assert backwards.localization is not None
    assert "agrees up to" in backwards.localization.summary
    half = tmp_path / "half.pt"
    torch.jit.save(torch.jit.script(Small().eval().bfloat16()), str(half))  # pyright: ignore
    assert verify(own(half), theirs, input_types=FEW, localize=True).tolerance.startswith(
        "bfloat16: signal to noise at least 28 dB"
    )


def test_a_file_is_read_once_for_the_signature_of_an_engine_whatever_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(
        "exporter.onnx_io.signature.read_signature", lambda path: read.append(path) or read_signature(path)
    )
    path = small_models.network(tmp_path / "m.onnx")
    signature = read_signature(path)
    find_inputs(FileSource(path, "onnx"), signature, ParityOptions(samples=4))
    assert read == [path]
