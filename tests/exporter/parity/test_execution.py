"""Which batches a model runs on, in which dtypes, and when a run stops."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from helpers import small_models
from helpers.parity import FEW, verify
from onnx import TensorProto, helper

from exporter.engines import find_engine
from exporter.engines.base import RuntimeOptions
from exporter.errors import ArtifactError
from exporter.parity.execution import RunSpec, make_feeds, run_model, select_batches
from exporter.parity.input_set import InputSet
from exporter.parity.io_mapping import IOMapping
from models.specs import Signature, TensorSpec

NAMES = ("random", "uniform", "nan", "zeros", "sparse")
INPUTS = InputSet.of_rows({"x": np.random.default_rng(0).random((5, 3, 8, 8), np.float32)}, NAMES)


def signature(batch: int | str, *outputs: tuple[int | str, ...]) -> Signature:
    return Signature(
        (TensorSpec("x", "float32", (batch, 3, 8, 8)),),
        tuple(TensorSpec(f"y{i}", "float32", shape) for i, shape in enumerate(outputs)),
    )


def sizes(found: Signature, *arguments: Any) -> list[int]:
    return [len(batch.rows) for batch in select_batches(found, *arguments)]


def test_single_rows_then_batches_of_regular_rows() -> None:
    assert sizes(signature("n", ("n", 7)), "float32", INPUTS) == [1, 1, 1, 1, 1, 2, 3]
    mixed = select_batches(signature("n", ("n", 7)), "float32", INPUTS)[-1]
    assert mixed.name == "random + uniform + sparse"  # no row of NaN or zeros, which would hide an interaction
    assert sizes(signature(2, (2, 7)), "float32", INPUTS) == [2, 2, 2]


def test_edge_cases_need_full_float32_and_unsupported_inputs_are_skipped() -> None:
    assert "nan" not in {batch.name for batch in select_batches(signature("n", ("n", 7)), "float16", INPUTS)}
    in_float64 = {batch.name for batch in select_batches(signature("n", ("n", 7)), "float64", INPUTS)}
    assert {batch.name for batch in select_batches(signature("n", ("n", 7)), "float32", INPUTS)} - in_float64 == {"nan"}
    skipped = select_batches(signature("n", ("n", 7)), "float32", INPUTS, ("uniform",))
    assert [batch.name for batch in skipped if len(batch.rows) == 1] == ["random", "nan", "zeros", "sparse"]


@pytest.mark.parametrize("outputs", [[()], [(1, 7)], [("n", 7), (1,)]])
def test_outputs_without_a_batch_axis_run_in_batches_of_one(outputs: list[tuple[int | str, ...]]) -> None:
    assert sizes(signature("n", *outputs), "float32", INPUTS) == [1] * 5


@pytest.mark.parametrize(
    ("dtype", "wanted"), [("float16", np.float16), ("float64", np.float64), ("bfloat16", ml_dtypes.bfloat16)]
)
def test_feeds_have_the_models_names_and_dtypes(dtype: str, wanted: Any) -> None:
    inputs = InputSet.of_rows({"x": np.array([[1.0], [1e20]], np.float32)}, ("a", "b"))
    (fed,) = make_feeds(IOMapping({"x": TensorSpec("input", dtype, ("n", 1))}, {}), inputs, (1, 0)).items()
    assert (fed[0], fed[1].dtype, fed[1].shape) == ("input", np.dtype(wanted), (2, 1))
    assert bool(np.isinf(fed[1][0, 0])) is (dtype == "float16")


def test_outputs_have_the_references_names_and_the_run_stops(tmp_path: Path) -> None:
    path = small_models.network(tmp_path / "m.onnx", names={"scores": "1234"})
    spec = RunSpec(
        path,
        lambda settings: find_engine("onnx").open(path, settings),
        RuntimeOptions(),
        lambda found: IOMapping({"x": found.inputs[0]}, {"1234": "logits"}),
    )
    steps: list[str] = []
    every = run_model(spec, INPUTS, steps.append)
    assert [len(outputs["logits"]) for _, outputs in every.batches] == [1, 1, 1, 1, 1, 2, 3]
    assert steps[:2] == ["loading m.onnx", "running m.onnx: random, batch 1"]
    assert {*every.seconds} == {"load", "run"}
    few = run_model(spec, INPUTS, stop_when=lambda _arithmetic, batch, _outputs: batch.name == "uniform")
    assert [batch.name for batch, _ in few.batches] == ["random", "uniform"]
    chosen = [batch for batch, _ in few.batches]
    assert [batch for batch, _ in run_model(spec, INPUTS, batches=chosen[1:]).batches] == chosen[1:]


@pytest.mark.parametrize(("mine", "other"), [(2, "n"), ("n", 2), (3, 2), (1, "n")])
def test_fixed_batches_on_either_side(mine: int | str, other: int | str, tmp_path: Path) -> None:
    first = small_models.network(tmp_path / "mine.onnx", batch=mine)
    second = small_models.network(tmp_path / "theirs.onnx", batch=other)
    report = verify(first, second, input_types=FEW, determinism=True)
    assert report.passed
    assert {row.batch for row in report.comparisons} == ({1, 2, 3} if mine == "n" else {mine})
    assert {found.identical for found in report.determinism} == {True}


def test_an_output_without_a_batch_axis_runs_in_batches_of_one(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    paths = [
        small_models.save(
            tmp_path / f"{name}.onnx",
            [helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)],
            [value("x", TensorProto.FLOAT, ["n", 4])],
            [value("y", TensorProto.FLOAT, [])],
            {},
        )
        for name in "ab"
    ]
    report = verify(paths[0], paths[1], input_types=FEW, determinism=True)
    assert report.passed
    assert {row.batch for row in report.comparisons} == {1}


def test_a_model_that_draws_random_numbers_has_no_result(theirs: Path, tmp_path: Path) -> None:
    model = onnx.load(theirs)
    (output,) = model.graph.output
    model.graph.node[-1].output[0] = "clean"
    noise = helper.make_node("RandomNormalLike", ["clean"], ["noise"], "source")
    model.graph.node.extend([noise, helper.make_node("Add", ["clean", "noise"], [output.name])])
    onnx.save(model, noisy := tmp_path / "noisy.onnx")
    for mine, other in ((noisy, theirs), (theirs, noisy)):
        with pytest.raises(ArtifactError, match=r"draws random numbers at source \(RandomNormalLike\).*eval\(\)"):
            verify(mine, other, input_types=FEW)
