"""Rounding that a model magnifies beyond what one run in float32 shows is no fault; anything else still is."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from helpers.graphs import graph, node, normal, save
from helpers.parity import verify

from exporter.engines.onnx_reference import FloatGraph
from exporter.errors import ArtifactError
from exporter.onnx_io.signature import read_signature
from exporter.parity.conditioning import STEPS, disturbed_baseline, disturbed_run
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputSet
from exporter.parity.sources import FileSource

TYPES = ("constant", "random", "zeros")


def centred(path: Path, detour: bool = False, shift: float = 0.5, squashed: bool = False) -> Path:
    """Write 1e4 (x - mean(x)) + shift; with a detour, of x r / r, which is x but for rounding; or of Sigmoid(x).

    The mean of two equal numbers is exact, so that without the detour their difference from it is.
    """
    nodes, x = ([node("Sigmoid", "x", "s")], "s") if squashed else ([], "x")
    if detour:
        nodes += [node("Mul", f"{x} r", "a"), node("Mul", "a q", "b")]
        x = "b"
    nodes += [node("ReduceMean", f"{x} axes", "m"), node("Sub", f"{x} m", "c"), node("Mul", "c k", "d")]
    nodes.append(node("Add", "d t", "y"))
    weights = {"axes": np.array([2]), "k": np.array(1e4, np.float32), "t": np.array(shift, np.float32)}
    if detour:
        weights["r"] = np.array([[0.3, 1.7], [0.7, 1.3]], np.float32)
        weights["q"] = 1 / weights["r"]
    return save(path, graph(nodes, {"x": ("n", 2, 2)}, {"y": ("n", 2, 2)}, weights))


def test_an_error_that_the_input_s_own_rounding_explains_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileSource, "with_moves", None)  # the values inside are not asked for then
    theirs, mine = centred(tmp_path / "theirs.onnx"), centred(tmp_path / "mine.onnx", detour=True)
    report = verify(mine, theirs, input_types=TYPES)
    assert report.passed
    assert {row.input for row in report.comparisons if row.disturbed} == {"constant"}
    assert sum("magnifies rounding on constant:" in note for note in report.notes) == 1
    (row,) = (row for row in report.comparisons if row.input == "constant")
    assert row.max_error > 1e-3  # of 0.5


def test_a_fault_on_the_same_inputs_fails(tmp_path: Path) -> None:
    theirs, mine = centred(tmp_path / "theirs.onnx"), centred(tmp_path / "mine.onnx", detour=True, shift=0.6)
    failed = {row.input for row in verify(mine, theirs, input_types=TYPES).comparisons if not row.passed}
    assert failed >= {"random", "zeros"}


@pytest.mark.parametrize(("shift", "failed"), [(-1.14, set[str]()), (-1.04, {"random", "uniform"})])
def test_what_a_step_of_float16_explains_passes_in_float16(shift: float, failed: set[str], tmp_path: Path) -> None:
    """A normalisation of equal numbers: their mean is off by a rounding, which is divided by sqrt(epsilon)."""
    nodes = [
        node("Cast", "x", "half", to=onnx.TensorProto.FLOAT16),
        node("Cast", "half", "back", to=onnx.TensorProto.FLOAT),
        node("Reshape", "back shape", "rows"),
        node("Mul", "rows rows", "squares"),
        node("InstanceNormalization", "squares scale bias", "y"),
    ]

    def write(path: Path, bias: float) -> Path:
        weights = {"shape": np.array([0, 1, -1]), "scale": np.array([0.76], np.float32)}
        weights["bias"] = np.array([bias], np.float32)
        return save(path, graph(nodes, {"x": (2, 8)}, {"y": (2, 1, 8)}, weights, 14))

    theirs = write(tmp_path / "theirs.onnx", -1.14)
    report = verify(write(tmp_path / "mine.onnx", shift), theirs, input_types=("random", "uniform", "constant"))
    assert report.tolerance.startswith("float16")
    assert any(row.disturbed for row in report.comparisons)
    names = {name for row in report.comparisons if not row.passed for name in row.input.split(" + ")}
    assert names == failed


@pytest.mark.parametrize("operator", ["Cast", "Floor"])
def test_whole_numbers_that_choose_are_not_moved_to_others(operator: str, tmp_path: Path) -> None:
    """A step below 3 is 2 for them: another row of the table, and a budget in which any fault would pass."""
    table = normal(9, 4)

    def lookup(path: Path, fault: float) -> Path:
        nodes = [node("Floor", "x", "f")] if operator == "Floor" else []
        nodes += [node("Cast", "f" if nodes else "x", "i", to=onnx.TensorProto.INT64), node("Gather", "w i", "y")]
        return save(path, graph(nodes, {"x": ("n", 5)}, {"y": ("n", 5, 4)}, {"w": table + np.float32(fault)}))

    np.savez(tmp_path / "x.npz", x=np.array([[1, 2, 3, 5, 8]], np.float32))
    theirs = lookup(tmp_path / "theirs.onnx", 0)
    for fault, passed in ((0, True), (0.01, False)):
        mine = lookup(tmp_path / "mine.onnx", fault)
        report = verify(mine, theirs, {"x": (1, 5)}, arrays=(tmp_path / "x.npz",), input_types=("zeros",))
        rows = [row for row in report.comparisons if row.input != "zeros"]
        assert rows
        assert all(row.passed is passed and not row.disturbed for row in rows)


def test_a_model_that_magnifies_nothing_keeps_its_baseline(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx", graph([node("MatMul", "x w", "y")], {"x": ("n", 8)}, {"y": ("n", 8)}, {"w": normal(8, 8)})
    )
    golden = GoldenOutputs(
        FileSource(path, "onnx", read_signature(path)), InputSet.of_rows({"x": normal(2, 8)}, ["a", "b"])
    )
    golden.compute([0, 1])
    assert disturbed_baseline(golden, "y", [0, 1]) is None


def negated(path: Path, rows: list[list[float]]) -> GoldenOutputs:
    """Return the reference of a model that changes the sign of these rows."""
    width = len(rows[0])
    save(path, graph([node("Neg", "x", "y")], {"x": ("n", width)}, {"y": ("n", width)}, {}))
    names = [f"row {index}" for index in range(len(rows))]
    source = FileSource(path, "onnx", read_signature(path))
    golden = GoldenOutputs(source, InputSet.of_rows({"x": np.array(rows, np.float32)}, names))
    golden.compute(range(len(rows)))
    return golden


def test_only_the_item_whose_error_is_far_larger_and_finite_takes_another_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = negated(tmp_path / "m.onnx", [[1, 2], [3, 4], [5, 6]])
    moved = {0: [[-1, -9]], 1: [[-3, np.inf]], 2: [[-5, -6]]}

    def run(_: GoldenOutputs, row: int, seed: int, *, precision: str, **__: Any) -> dict[str, np.ndarray]:
        exact = golden.float64("y", [row])
        return {"y": exact if precision == "float64" else np.array(moved[row], np.float32)}

    monkeypatch.setattr("exporter.parity.conditioning.disturbed_run", run)
    found = disturbed_baseline(golden, "y", [1, 0, 2])
    assert found is not None
    assert found.tolist() == [[-3, -4], [-1, -9], [-5, -6]]
    assert disturbed_baseline(golden, "y", [1, 2]) is None


@pytest.mark.parametrize(
    ("errors", "counts"),
    [
        ((0, 0, 9), None),
        ((9, 0, 0), None),
        ((5, 0, 9), 5),
        ((9, 5, 0), 5),
        ((np.nan, 9, 5), 9),
        ((0, np.nan, np.inf), None),
    ],
)
def test_the_median_of_the_moved_runs_counts(
    errors: tuple[float, ...], counts: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run that is off by chance would be a budget in which a fault passes."""
    golden = negated(tmp_path / "m.onnx", [[1, 2]])

    def run(_: GoldenOutputs, row: int, seed: int, *, precision: str, **__: Any) -> dict[str, np.ndarray]:
        exact = golden.float64("y", [row])
        return {"y": exact if precision == "float64" else (exact + np.array([0, errors[seed]])).astype(np.float32)}

    monkeypatch.setattr("exporter.parity.conditioning.disturbed_run", run)
    found = disturbed_baseline(golden, "y", [0])
    assert (found if found is None else found.tolist()) == (counts and [[-1, counts - 2]])


def test_a_run_that_fails_or_returns_another_number_of_elements_shows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = negated(tmp_path / "m.onnx", [[1, 2], [3, 4]])

    def run(precision: str, inputs: InputSet) -> dict[str, np.ndarray]:
        del precision
        if inputs.feeds[0]["x"].max() < 3:
            raise ArtifactError("another number of elements inside")
        return {"y": np.array([[9, 9, 9]], np.float32)}

    monkeypatch.setattr(golden, "run_once", run)
    assert disturbed_baseline(golden, "y", [0, 1]) is None


def test_numbers_are_moved_by_a_step_either_way_and_whole_ones_only_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = negated(tmp_path / "m.onnx", [[1, 2.5, 5, -0.5, 0, -3]])
    monkeypatch.setattr(golden, "run_once", lambda _, inputs: {"y": inputs.feeds[0]["x"]})
    for steps in STEPS.values():
        found = np.concatenate([disturbed_run(golden, 0, seed, steps, "float32")["y"] for seed in range(20)])
        step = np.float64(steps) * 2.0**-23
        assert [sorted({*column}) for column in found.T.astype(np.float64)] == [
            [1, 1 + step],
            [2.5 - 2 * step, 2.5 + 2 * step],
            [5, 5 + 4 * step],
            [-0.5 - step / 2, -0.5 + step / 4],
            [0],
            [-3],
        ]


def test_a_step_of_each_type_is_its_own() -> None:
    assert {name: float(ml_dtypes.finfo(name).eps) / 2.0**-23 for name in STEPS} == STEPS


def test_a_tolerance_of_the_user_is_no_multiple_of_the_baseline(tmp_path: Path) -> None:
    theirs, mine = centred(tmp_path / "theirs.onnx"), centred(tmp_path / "mine.onnx", detour=True)
    report = verify(mine, theirs, input_types=TYPES, rtol=1e-6)
    assert not report.passed
    assert not any(row.disturbed for row in report.comparisons)


JUMPS = {
    "Ceil": ([node("Ceil", "x", "z")], 3.0),
    "Greater": ([node("Greater", "x one", "g"), node("Where", "g x half", "z")], 1.0),
    "Round": ([node("Mul", "x half", "h"), node("Round", "h", "z")], 5.0),
    "ArgMax": ([node("ArgMax", "x", "i", axis=1, keepdims=0), node("Gather", "table i", "z")], 7.0),
}


@pytest.mark.parametrize("operator", [*JUMPS])
@pytest.mark.parametrize(("scale", "passed"), [(1.0, True), (1.01, False)])
def test_a_jump_at_the_input_is_no_magnified_rounding(
    operator: str, scale: float, tmp_path: Path, *, passed: bool
) -> None:
    """A step above a whole number is another one for `Ceil`: a budget in which a fault of 1 % passed."""
    nodes, value = JUMPS[operator]
    weights = {
        "one": np.array(1, np.float32),
        "half": np.array(0.5, np.float32),
        "table": normal(6, 6) * np.float32(5),
    }

    def model(path: Path, factor: float) -> Path:
        used = {name: array for name, array in weights.items() if any(name in made.input for made in nodes)}
        used["w"] = normal(6, 4) * np.float32(factor)
        return save(path, graph([*nodes, node("MatMul", "z w", "y")], {"x": ("n", 6)}, {"y": ("n", 4)}, used))

    np.savez(tmp_path / "x.npz", x=np.full((1, 6), value, np.float32))
    theirs, mine = model(tmp_path / "theirs.onnx", 1), model(tmp_path / "mine.onnx", scale)
    report = verify(mine, theirs, {"x": (1, 6)}, arrays=(tmp_path / "x.npz",), input_types=("zeros",))
    rows = [row for row in report.comparisons if row.input != "zeros"]
    assert rows
    assert all(row.passed is passed and not row.disturbed for row in rows)


@pytest.mark.parametrize(("shift", "passed"), [(0.5, True), (0.6, False)])
def test_an_error_that_the_rounding_of_values_inside_explains_passes(
    shift: float, tmp_path: Path, *, passed: bool
) -> None:
    """No step of an input moves the Sigmoid of zero."""
    theirs = centred(tmp_path / "theirs.onnx", squashed=True)
    mine = centred(tmp_path / "mine.onnx", detour=True, shift=shift, squashed=True)
    report = verify(mine, theirs, input_types=("random", "uniform", "zeros"))
    assert report.passed is passed
    rows = {row.input: row for row in report.comparisons}
    assert rows["zeros"].max_error > 1e-4  # of 0.5
    assert rows["zeros"].disturbed
    assert rows["zeros"].passed is rows["random"].passed is rows["uniform"].passed is passed


def test_values_are_moved_once_where_nothing_is_magnified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, mine = (
        save(
            tmp_path / f"{scale}.onnx",
            graph(
                [node("MatMul", "x w", "y")], {"x": ("n", 8)}, {"y": ("n", 8)}, {"w": normal(8, 8) * np.float32(scale)}
            ),
        )
        for scale in (1, 1.1)
    )
    ran: list[Any] = []
    own = FloatGraph.run_batch

    def run(self: FloatGraph, feeds: Any) -> Any:
        if self.choice.moves is not None:
            ran.append(self.choice.dtype)
        return own(self, feeds)

    monkeypatch.setattr(FloatGraph, "run_batch", run)
    report = verify(mine, theirs, input_types=("random", "uniform"))
    assert not any(row.passed for row in report.comparisons)
    assert ran == ["float32"] * 2  # each row once


def test_numbers_that_are_only_copied_inside_are_not_moved(tmp_path: Path) -> None:
    """1e6 (x - copy of x) is 0 in every engine: a fault there is no rounding."""

    def model(path: Path, fault: float) -> Path:
        nodes = [node("Relu", "x", "r"), node("Transpose", "r", "c", perm=[0, 2, 1])]
        nodes += [node("Transpose", "c", "d", perm=[0, 2, 1]), node("Sub", "r d", "e"), node("Mul", "e k", "f")]
        nodes += [node("Add", "f r", "g"), node("Add", "g t", "y")]
        weights = {"k": np.array(1e6, np.float32), "t": np.array(fault, np.float32)}
        return save(path, graph(nodes, {"x": ("n", 2, 4)}, {"y": ("n", 2, 4)}, weights))

    report = verify(model(tmp_path / "mine.onnx", 0.1), model(tmp_path / "theirs.onnx", 0), input_types=TYPES)
    assert not any(row.passed for row in report.comparisons)
