"""A file that errs or fails by itself passes against itself; one with a fault fails, and where nothing is proved."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import parity
from helpers.graphs import graph, make_model, node, normal, save
from helpers.parity import verify
from onnx import NodeProto, TensorProto, helper

from exporter.errors import ArtifactError, CheckFailedError
from exporter.parity.own_error import least_signals
from exporter.parity.tolerance import SNR_TOLERANCES
from exporter.types import InputOptions

TYPES = ("random", "uniform", "saturated", "constant", "zeros")
HALF = node("Cast", "x", "h", to=TensorProto.FLOAT16)
"""The input in float16, `h`."""


def widened(path: Path, *nodes: NodeProto, **weights: float) -> Path:
    """Write a network of (n, 8) that computes `a` in float16 and returns it in float32.

    The Reshape keeps onnxruntime from removing the Cast and computing in float32.
    """
    held = {name: np.full(1, value, np.float16) for name, value in weights.items()}
    last = [node("Reshape", "a shape", "r"), node("Cast", "r", "y", to=TensorProto.FLOAT)]
    return save(
        path, graph([HALF, *nodes, *last], {"x": ("n", 8)}, {"y": ("n", 8)}, {**held, "shape": np.array([-1, 8])})
    )


def underflowing(path: Path, factor: float = 1.0) -> Path:
    """Write exp(-factor x / 5): of constant pixels, 127, it is 9e-12, which is zero in float16."""
    return widened(path, node("Mul", "h k", "m"), node("Exp", "m", "a"), k=-factor / 5)


def cancelled(path: Path) -> Path:
    """Write x / 3 - x * (1 / 3): zero, but for rounding."""
    return widened(
        path,
        node("Div", "h c", "d"),
        node("Div", "one c", "third"),
        node("Mul", "h third", "m"),
        node("Sub", "d m", "a"),
        c=3,
        one=1,
    )


def test_a_float16_file_that_underflows_passes_against_itself_and_says_so(tmp_path: Path) -> None:
    path = underflowing(tmp_path / "m.onnx")
    report = verify(path, path, input_types=TYPES)
    assert report.passed
    (row,) = (row for row in report.comparisons if row.own_error)
    assert row.input == "constant"
    assert row.snr_db == pytest.approx(0, abs=1e-6)
    assert any(note.startswith("the reference's file itself") and "constant" in note for note in report.notes)


def test_a_fault_fails_on_the_inputs_that_the_file_is_accurate_on(tmp_path: Path) -> None:
    theirs, mine = underflowing(tmp_path / "theirs.onnx"), underflowing(tmp_path / "mine.onnx", 1.1)
    failed = {
        row.input for row in verify(mine, theirs, input_types=("random", "constant")).comparisons if not row.passed
    }
    assert any("random" in name for name in failed)


def test_an_error_beyond_a_multiple_of_the_file_s_own_fails(tmp_path: Path) -> None:
    theirs = underflowing(tmp_path / "theirs.onnx")
    mine = widened(
        tmp_path / "mine.onnx", node("Mul", "h k", "m"), node("Exp", "m", "e"), node("Max", "e s", "a"), k=-0.2, s=1e-6
    )
    report = verify(mine, theirs, input_types=("random", "constant"))
    assert {row.passed for row in report.comparisons if row.input == "random"} == {True}
    assert {row.passed for row in report.comparisons if row.input == "constant"} == {False}


def test_twice_the_own_error_of_the_item_passes() -> None:
    tolerance = SNR_TOLERANCES["float16"]
    tolerance = replace(tolerance, item_signals=least_signals(tolerance, (0.25, 8.0)))
    exact, ones = np.zeros((2, 16)), np.tile([1.0, -1.0], 8)
    for item, own in enumerate((0.25, 8.0)):
        used = [tolerance.item(item).measure(ones * own * factor, exact[item], exact[item])[1] for factor in (1.9, 2.1)]
        assert used[0] < 1 < used[1]


def test_nothing_is_proved_where_the_file_is_wrong_on_every_input(tmp_path: Path) -> None:
    path = cancelled(tmp_path / "m.onnx")
    report = verify(path, path, input_types=TYPES)
    assert not report.passed
    assert any("no input gives a meaningful budget for y" in note for note in report.notes)


def decided(path: Path, operator: str, offset: float = 0) -> Path:
    """Write the place of the largest or smallest of 128 numbers in float16: now and then two of them round to one."""
    nodes = [
        node("Add", "x offset", "a"),
        node("Cast", "a", "h", to=TensorProto.FLOAT16),
        node("Reshape", "h shape", "r"),
    ]
    nodes.append(node(operator, "r", "y", axis=2, keepdims=0))
    ports = (
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64, 128])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, ["n", 64])],
    )
    weights = {"shape": np.array([-1, 64, 128]), "offset": np.array(offset, np.float32)}
    onnx.save(make_model(nodes, *ports, weights, 18), path)
    return path


def test_indices_may_differ_about_as_often_as_the_file_s_own(tmp_path: Path) -> None:
    theirs = decided(tmp_path / "theirs.onnx", "ArgMax")
    report = verify(theirs, theirs, input_types=("uniform",))
    assert report.passed
    assert min(row.equal or 0 for row in report.comparisons) < 0.99
    assert not verify(decided(tmp_path / "mine.onnx", "ArgMin"), theirs, input_types=("uniform",)).passed


def test_indices_that_the_file_mostly_decides_otherwise_prove_nothing(tmp_path: Path) -> None:
    path = decided(tmp_path / "m.onnx", "ArgMax", 30_000)  # neighbours in float16 are 16 apart there
    report = verify(path, path, input_types=("uniform",))
    assert max(row.equal or 0 for row in report.comparisons) < 0.5
    assert not report.passed


def pooled(path: Path, factor: float) -> Path:
    """Write a network with weights in int8 that normalises: onnxruntime divides zeros by zero, and pools the NaN."""
    nodes = [
        node("DequantizeLinear", "w s z", "d", axis=0),
        node("Conv", "x d", "c"),
        node("MeanVarianceNormalization", "c", "n", axes=[2, 3]),
        node("Mul", "n f", "m"),
        node("Conv", "m v", "k"),
        node("MaxPool", "k", "y", kernel_shape=[2, 3], pads=[1, 1, 1, 1], strides=[2, 1]),
    ]
    weights = {
        "w": np.arange(-100, 92, 24).astype(np.int8).reshape(4, 2, 1, 1),
        "s": np.full(4, 0.01, np.float32),
        "z": np.zeros(4, np.int8),
        "f": np.full((1, 1, 1, 1), factor, np.float32),
        "v": normal(3, 4, 1, 1),
    }
    return save(path, graph(nodes, {"x": ("n", 2, 4, 4)}, {"y": ("n", 3, 3, 4)}, weights, 13))


def grouped(path: Path, factor: float) -> Path:
    """Write a float64 network that normalises numbers near 100, in onnxruntime in float32."""
    nodes = [node("Add", "x t", "m"), node("GroupNormalization", "m s b", "y", num_groups=2)]
    weights = {"t": np.array(1e2), "s": np.full(4, factor, np.float64), "b": np.zeros(4)}
    return save(path, graph(nodes, {"x": ("n", 4, 5)}, {"y": ("n", 4, 5)}, weights, 21, TensorProto.DOUBLE))


@pytest.mark.parametrize(
    ("write", "wrong_on", "fault"),
    [(pooled, {"zeros", "constant"}, 1.5), (grouped, {"random", "uniform"}, 1.1)],
)
def test_a_file_with_a_baseline_of_its_own_passes_and_a_fault_fails(
    write: Callable[[Path, float], Path], wrong_on: set[str], fault: float, tmp_path: Path
) -> None:
    theirs, types = write(tmp_path / "theirs.onnx", 1), ("random", "uniform", "heavy-tailed", "zeros", "constant")
    report = verify(theirs, theirs, input_types=types)
    assert report.passed
    assert {row.input for row in report.comparisons if row.own_error} & {*types} == wrong_on
    mine = verify(write(tmp_path / "mine.onnx", fault), theirs, input_types=types)
    assert {row.input for row in mine.comparisons if not row.passed} >= {"random", "uniform", "heavy-tailed"}


def test_a_reference_with_float16_inputs_is_compared_on_the_rounded_inputs(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        graph([node("Sigmoid", "x", "y")], {"x": ("n", 8)}, {"y": ("n", 8)}, {}, 18, TensorProto.FLOAT16),
    )
    assert verify(path, path, input_types=("random", "uniform")).passed


@pytest.mark.parametrize("operator", ["Identity", "ArgMax"])
def test_a_sequence_of_another_sign_fails(tmp_path: Path, operator: str) -> None:
    def write(name: str, sign: float) -> Path:
        nodes = [HALF, node("Mul", "h k", "m"), node(operator, "m", "a"), node("SequenceConstruct", "a a", "y")]
        found = TensorProto.INT64 if operator == "ArgMax" else TensorProto.FLOAT16
        outputs = [helper.make_tensor_sequence_value_info("y", found, None)]
        held = [onnx.numpy_helper.from_array(np.full(1, sign, np.float16), "k")]
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])]
        opset = helper.make_opsetid("", 17)
        model = helper.make_model(
            helper.make_graph(nodes, "g", inputs, outputs, held), opset_imports=[opset], ir_version=8
        )
        return save(tmp_path / name, model)

    reference = write("reference.onnx", 1)
    assert verify(write("same.onnx", 1), reference).passed
    assert not verify(write("other.onnx", -1), reference).passed


WITH_NAN = ("random", "uniform", "nan")


def binarized(path: Path, threshold: float = 0.0) -> Path:
    """Write a model whose operator onnxruntime does not run on NaN."""
    nodes = [node("Binarizer", "x", "y", domain="ai.onnx.ml", threshold=threshold)]
    onnx.save(graph(nodes, {"x": (3, 5)}, {"y": (3, 5)}, {}), path)
    return path


def positive(path: Path) -> Path:
    """Write a model that equals `binarized` and runs on NaN."""
    nodes = [node("Greater", "x zero", "b"), node("Cast", "b", "y", to=TensorProto.FLOAT)]
    onnx.save(graph(nodes, {"x": (3, 5)}, {"y": (3, 5)}, {"zero": np.zeros(1, np.float32)}), path)
    return path


def test_an_input_on_which_the_file_fails_by_itself_is_left_out_and_named(tmp_path: Path) -> None:
    path = binarized(tmp_path / "m.onnx")
    report = parity.verify(path, path, input_types=WITH_NAN)
    assert report.passed
    assert {row.input for row in report.comparisons} == {"random", "uniform"}
    assert any(note.startswith("fails on nan, as the reference does") for note in report.notes)


def test_another_threshold_fails_on_the_inputs_that_are_left(tmp_path: Path) -> None:
    report = parity.verify(
        binarized(tmp_path / "mine.onnx", 0.5), binarized(tmp_path / "theirs.onnx"), input_types=WITH_NAN
    )
    assert not report.passed


def test_an_artifact_that_fails_where_the_reference_runs_fails(tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError, match="NaN"):
        parity.verify(binarized(tmp_path / "mine.onnx"), positive(tmp_path / "theirs.onnx"), input_types=WITH_NAN)


def integer_convolution(path: Path, zero_points: int) -> Path:
    """Write a ConvInteger of uint8; onnxruntime takes one zero point of the weights, not one for every channel."""
    sizes: dict[str, Any] = {"x": (1, 1, 3, 3), "w": (2, 1, 2, 2), "a": (), "b": (zero_points,)}
    ports = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name, shape in sizes.items()]
    output = helper.make_tensor_value_info("y", TensorProto.INT32, [1, 2, 2, 2])
    onnx.save(make_model([node("ConvInteger", "x w a b", "y")], ports, [output], {}, 18), path)
    return path


def test_a_file_that_fails_on_every_value_of_its_dtypes_is_a_bad_file(tmp_path: Path) -> None:
    path = integer_convolution(tmp_path / "m.onnx", 2)
    with pytest.raises(ArtifactError, match=r"ConvInteger.*it fails like this on every input"):
        parity.check(path, InputOptions())
    runs = integer_convolution(tmp_path / "runs.onnx", 1)
    assert parity.check(runs).passed
