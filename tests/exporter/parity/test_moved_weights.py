"""Weights that are only stored in fewer bits loosen the tolerance by what their rounding does, and by no more."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import ml_dtypes
import numpy as np
import onnx
import pytest
from helpers.graphs import graph, node, normal, save
from helpers.parity import FEW, verify
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper

from exporter.engines.base import Runtime, RuntimeOptions
from exporter.parity import moved_weights
from exporter.parity.input_set import InputBatch
from exporter.parity.moved_weights import RoundingErrors, StoredWeights, measure_rounding, move
from models.progress import no_progress

Weights = dict[str, NDArray[np.float32]]
DTYPES: dict[str, tuple[type, int]] = {
    "float16": (np.float16, TensorProto.FLOAT16),
    "bfloat16": (ml_dtypes.bfloat16, TensorProto.BFLOAT16),
}


def make_weights() -> Weights:
    weights = {
        "w1": normal(8, 3, 3, 3) * np.float32(0.3),
        "w2": normal(8, 8, 3, 3) * np.float32(0.17),
        "w3": normal(8, 8, 3, 3, seed=1) * np.float32(0.17),
        "w4": normal(5, 8 * 9) * np.float32(0.1),
    }
    biases = {f"b{number}": normal(len(weights[f"w{number}"]), seed=9) * np.float32(0.1) for number in (1, 2, 3, 4)}
    return weights | biases | {"s": normal(8) + 2, "t": normal(8, seed=2), "m": normal(8, seed=3), "v": normal(8) ** 2}


def network(
    path: Path,
    half: str = "",
    stored: tuple[str, ...] = ("w1", "w2", "w3", "w4"),
    fault: Callable[[Weights, dict[str, NodeProto]], object] | None = None,
) -> Path:
    """Write a network of three convolutions, with some weights stored in half precision and cast to float32."""
    weights = make_weights()
    nodes = [
        node("Conv", "x w1 b1", "c1", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c1 s t m v", "n1", epsilon=1e-3),
        node("Relu", "n1", "r1"),
        node("MaxPool", "r1", "p1", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=0),
        node("Conv", "p1 w2 b2", "c2", pads=[1, 1, 1, 1]),
        node("Relu", "c2", "r2"),
        node("Conv", "r2 w3 b3", "c3", pads=[1, 1, 1, 1]),
        node("Relu", "c3", "r3"),
        node("Slice", "r3 from to axes", "q3"),
        node("Flatten", "q3", "f"),
        node("Gemm", "f w4 b4", "y", transB=1),
    ]
    if fault is not None:
        fault(weights, {made.output[0]: made for made in nodes})
    arrays: dict[str, NDArray[np.generic]] = {
        **weights,
        "from": np.array([0, 0]),
        "to": np.array([3, 3]),
        "axes": np.array([2, 3]),
    }
    if half:
        dtype, _ = DTYPES[half]
        for name in stored:
            arrays[f"{name}.half"] = arrays.pop(name).astype(dtype)
            nodes.insert(0, node("Cast", f"{name}.half", name, to=TensorProto.FLOAT))
    return save(path, graph(nodes, {"x": ("n", 3, 7, 7)}, {"y": ("n", 5)}, arrays))


def with_table(path: Path, target: Path) -> Path:
    """Add a matrix in float16 to the scores: numbers of 1e-4 that no reference holds, as small as rounding."""
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(normal(1, 5).astype(np.float16) * np.float16(1e-6), "table"))
    model.graph.node[-1].output[0] = model.graph.node[-1].name = "scores"
    model.graph.node.extend([node("Cast", "table", "wide", to=TensorProto.FLOAT), node("Add", "scores wide", "y")])
    return save(target, model)


def swap(weights: Weights) -> None:
    weights["w2"], weights["w3"] = weights["w3"], weights["w2"]


def scale(weights: Weights, name: str, factor: float) -> None:
    weights[name] = weights[name] * np.float32(factor)


def shift_one(weights: Weights, name: str, by: float) -> None:
    weights[name] = weights[name] + np.float32(by) * np.eye(len(weights[name]), dtype=np.float32)[2]


def set_ints(made: NodeProto, name: str, values: list[int]) -> None:
    (found,) = (attribute for attribute in made.attribute if attribute.name == name)
    found.CopyFrom(onnx.helper.make_attribute(name, values))


FAULTS: dict[str, Callable[[Weights, dict[str, NodeProto]], object]] = {
    "layers swapped": lambda weights, _: swap(weights),
    "bias missing": lambda weights, _: scale(weights, "b3", 0),
    "bias of one class off": lambda weights, _: shift_one(weights, "b4", 0.03),
    "padding before instead of around": lambda _, nodes: set_ints(nodes["c3"], "pads", [2, 1, 0, 1]),
    "epsilon": lambda _, nodes: nodes["n1"].attribute[0].CopyFrom(onnx.helper.make_attribute("epsilon", 1e-2)),
    "bias of one channel off": lambda weights, _: shift_one(weights, "b2", 0.05),
    "a layer scaled": lambda weights, _: scale(weights, "w3", 1.01),
    "one channel dropped": lambda weights, _: weights["w2"].__setitem__(3, 0),
    "rounded to 7 bits before": lambda weights, _: weights.update(
        {name: weights[name].astype(ml_dtypes.bfloat16).astype(np.float32) for name in ("w1", "w2", "w3")}
    ),
}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network(tmp_path_factory.mktemp("theirs") / "theirs.onnx")


@pytest.mark.parametrize("half", [*DTYPES])
def test_weights_stored_in_half_precision_pass(half: str, theirs: Path, tmp_path: Path) -> None:
    report = verify(network(tmp_path / "m.onnx", half), theirs, input_types=FEW)
    assert report.passed
    assert report.tolerance.startswith(f"{half} weights in a float32 model: within 8 times")
    assert max(row.budget_used for row in report.comparisons) > 1 / 20  # a budget of the size of the error
    assert {row.min_snr_db for row in report.comparisons} == {45 if half == "float16" else 28}


def test_a_minimum_of_the_users_replaces_what_rounding_explains(theirs: Path, tmp_path: Path) -> None:
    report = verify(network(tmp_path / "m.onnx", "float16"), theirs, input_types=FEW, min_snr=30)
    assert report.passed
    assert {row.min_snr_db for row in report.comparisons} == {30}


@pytest.mark.parametrize("fault", [*FAULTS])
def test_a_fault_is_not_covered_by_weights_in_half_precision(fault: str, theirs: Path, tmp_path: Path) -> None:
    faulty = network(tmp_path / "m.onnx", "float16", fault=FAULTS[fault])
    assert not verify(faulty, theirs, input_types=FEW).passed


def test_a_small_weight_in_half_precision_does_not_cover_a_fault_of_60_db(theirs: Path, tmp_path: Path) -> None:
    def scaled(weights: Weights, _: object) -> None:
        scale(weights, "w3", 1.0005)

    assert verify(with_table(theirs, tmp_path / "m.onnx"), theirs, input_types=FEW).passed
    faulty = with_table(network(tmp_path / "faulty.onnx", fault=scaled), tmp_path / "n.onnx")
    report = verify(faulty, theirs, input_types=FEW)
    assert not report.passed
    assert min(row.snr_db for row in report.comparisons) > 55


def test_moved_by_one_unit_in_the_last_place() -> None:
    weight = np.array([1, -1, 1.5, 0, 65504, np.inf, 6e-8], np.float16)
    found = np.stack([move(weight, np.random.default_rng(seed)) for seed in range(40)]).astype(np.float64)
    assert [sorted({*column}) for column in found.T[:5]] == [
        [1 - 2**-11, 1 + 2**-10],
        [-1 - 2**-10, -1 + 2**-11],
        [1.5 - 2**-10, 1.5 + 2**-10],
        [0],
        [65472],
    ]
    assert np.isinf(found[:, 5]).all()
    assert {*found[:, 6]} == {0, 2**-23}


def test_bytes_stay_in_their_range() -> None:
    weight = np.array([-128, 127, 0], np.int8)
    found = np.stack([move(weight, np.random.default_rng(seed)) for seed in range(20)])
    assert [{*column} for column in found.T] == [{-127}, {126}, {-1, 1}]


@pytest.mark.parametrize("shape", [(40, 1), (1, 40)])
def test_the_levels_of_a_layer_with_one_output_or_input_move(shape: tuple[int, int]) -> None:
    """Each of its slices along one axis holds one number; a slice of equal numbers stays."""
    weight = np.array([127, -127, *range(-19, 19)], np.int8).reshape(shape)
    moved = move(weight, np.random.default_rng(0)).ravel()
    assert np.array_equal(moved[:2], [127, -127])  # the scale is made from these
    assert (np.abs(moved[2:] - weight.ravel()[2:]) == 1).all()


def test_equal_numbers_move_equally_where_asked() -> None:
    weight = np.repeat(np.arange(1, 9, dtype=np.float16), 500)
    moved = move(weight, np.random.default_rng(0), equally=True).reshape(8, 500)
    assert (moved == moved[:, :1]).all()
    assert len({*np.sign(moved[:, 0] - weight[::500])}) == 2
    assert len({*move(weight, np.random.default_rng(0))[:500]}) == 2


WEIGHT = np.full(16, 1.5, np.float16)  # whose unit is 2**-10 either way
SIGNS = np.repeat([1, -1], 8)


class Sums:
    """Outputs of one weight, which is moved: one of its numbers, their sum, and the difference of its halves."""

    def __init__(self, width: int = 1) -> None:
        self.width, self.opened = width, 0

    def write(self, path: Path, change: Callable[[NDArray[Any]], NDArray[Any]], folder: Path) -> Path:
        np.save(folder / "moved.npy", change(np.load(path)))
        return folder / "moved.npy"

    def open(self, path: Path, _: RuntimeOptions) -> AbstractContextManager[Runtime]:
        self.opened += 1
        return nullcontext(cast("Runtime", np.load(path)))

    def run(self, weight: Any, batch: InputBatch) -> dict[str, NDArray[Any]]:
        numbers = weight.astype(np.float64)
        found = {"one": numbers[0], "sum": numbers.sum(), "difference": (numbers * SIGNS).sum()}
        scales = np.repeat(10.0 ** np.array(batch.rows)[:, None], self.width, axis=1)
        outputs = {name: value * scales for name, value in found.items()}
        # of this output, only the first number depends on the weight
        outputs["first"] = outputs["one"] * (np.arange(self.width) == 0)
        return outputs | {"label": scales.astype(np.int64), "found": np.zeros(self.opened)}

    def measure(self, folder: Path, *batches: tuple[int, ...]) -> RoundingErrors:
        np.save(path := folder / "m.npy", WEIGHT)
        stored = StoredWeights("float16", self.write, cast("Any", self.open))
        own = [(batch := InputBatch("", rows), self.run(WEIGHT, batch)) for rows in batches]
        return measure_rounding(path, stored, RuntimeOptions(), own, self.run, no_progress)


def test_the_measured_errors_are_those_of_the_rounding(tmp_path: Path) -> None:
    """Of numbers that are rounded alike the errors add up; of others they cancel, as a root of a sum of squares."""
    unit = 2.0**-10 / 12**0.5
    found = Sums(3).measure(tmp_path, (0,), (1, 2), (0, 1, 2))
    assert {name for _, name in found} == {"one", "sum", "difference", "first"}
    for row, scale in enumerate((1, 10, 100)):
        assert found[row, "one"] == pytest.approx(scale * unit)
        assert found[row, "first"] == pytest.approx(scale * unit)
        assert found[row, "sum"] == pytest.approx(16 * scale * unit)
        assert 0.6 < found[row, "difference"] / (4 * scale * unit) < 1.6


@pytest.mark.parametrize(("few_weights", "width", "copies"), [(17, 32, 32), (16, 31, 16), (16, 32, 8)])
def test_few_weights_and_narrow_outputs_need_more_copies(
    few_weights: int, width: int, copies: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moved_weights, "FEW_WEIGHTS", few_weights)
    sums = Sums(width)
    sums.measure(tmp_path, (0,))
    assert sums.opened == copies
