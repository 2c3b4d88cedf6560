"""Artifacts compared with their networks and with other model files; engines, tolerances and precisions."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from helpers import small_models
from helpers.graphs import node
from helpers.parity import FEW, verify
from helpers.small_video_model import SmallVideoModel

from exporter.artifacts.loading import LoadedArtifact
from exporter.errors import ArtifactError, C3DExportError, OutputError, UsageError
from exporter.parity.input_types import CONSTANT, RANDOM
from exporter.types import EngineReference, InputOptions, ParityOptions
from exporter.workflows import verify as verify_module
from exporter.workflows.export import ExportResult
from exporter.workflows.verify import verify_parity
from models.built_model import BuiltModel
from models.errors import CheckpointError
from models.options import BuildOptions

RENAMED = {"x": "input.1", "conv1": "a", "relu1": "b", "pool1": "c", "conv2": "d", "relu2": "e", "scores": "1234"}


def test_the_same_function_under_other_names_and_another_opset_passes(theirs: Path, tmp_path: Path) -> None:
    mine = small_models.network(tmp_path / "mine.onnx", names=RENAMED, opset=13)
    report = verify(mine, theirs)
    assert report.passed
    assert {row.output for row in report.comparisons} == {"scores"}
    assert [row.input for row in report.comparisons if row.batch == 1] == [*RANDOM, *CONSTANT]
    assert {row.batch for row in report.comparisons} == {1, 2, 3}
    assert report.float64_name == "theirs.onnx in float64"
    assert report.tolerance == "within 8 times float32 theirs.onnx's own error"
    assert [*report.hashes] == ["mine.onnx"]
    assert {"onnxruntime", "system", "processor"} <= {*report.environment}


@pytest.mark.parametrize("layer", ["w1", "b2", "w3"])
def test_a_layer_scaled_by_a_thousandth_fails(layer: str, theirs: Path, tmp_path: Path) -> None:
    mine = small_models.network(tmp_path / "mine.onnx", change=small_models.scaled(layer, 1.001))
    report = verify(mine, theirs, input_types=FEW)
    assert not report.passed
    assert {row.passed for row in report.comparisons if row.input == "uniform"} == {False}


@pytest.mark.parametrize(
    "options",
    [
        ParityOptions(rtol=float("nan")),
        ParityOptions(atol=-1.0),
        ParityOptions(min_snr=0.0),
        ParityOptions(min_top1=2.0),
        ParityOptions(input_types=("noise",)),
    ],
)
def test_impossible_numbers_are_refused_before_a_file_is_read(options: ParityOptions, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        verify_parity([tmp_path / "missing.onnx"], options)


def test_fail_fast_stops_at_the_first_failure(theirs: Path, tmp_path: Path) -> None:
    mine = small_models.network(tmp_path / "mine.onnx", change=small_models.scaled("w1", 1.001))
    report = verify(mine, theirs, fail_fast=True, localize=True)
    assert [row.input for row in report.comparisons] == ["random"]
    assert "--fail-fast: the inputs and batch sizes after the first failure were not run" in report.notes
    assert report.localization is not None
    assert report.localization.first == "conv1"
    assert len(verify(theirs, theirs, fail_fast=True, input_types=FEW).comparisons) == 5


def test_fail_fast_has_no_note_where_the_last_input_is_the_first_that_fails(tmp_path: Path) -> None:
    theirs = small_models.network(tmp_path / "theirs.onnx", batch=1)
    mine = small_models.network(tmp_path / "mine.onnx", batch=1, change=small_models.scaled("w1", 1.001))
    report = verify(mine, theirs, fail_fast=True, input_types=("random",))
    assert not report.passed
    assert not [note for note in report.notes if "--fail-fast" in note]


def test_invalid_options_are_refused_before_anything_runs(theirs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--weights and related options"):
        verify_parity([theirs], ParityOptions(against=theirs), BuildOptions(weights="c3d.pth"))
    with pytest.raises(UsageError, match="--shape needs --against FILE"):
        verify_parity([theirs], ParityOptions(inputs=InputOptions({"x": (1, 2)})))
    with pytest.raises(UsageError, match="--clip needs a network that takes RGB video"):
        verify(theirs, theirs, clips=(tmp_path,))
    with pytest.raises(UsageError, match="torchscript does not run onnx files; onnxruntime, openvino, onnx-reference"):
        verify(theirs, theirs, engine="torchscript")
    with pytest.raises(ArtifactError, match="no such file"):
        verify(theirs, tmp_path / "none.onnx")
    with pytest.raises(ArtifactError, match="does not fit the other's: words int64.*the other has x float32"):
        verify(small_models.two_inputs(tmp_path / "b.onnx"), theirs)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="--cache .*file: cannot be written to: it is a file"):
        verify(theirs, theirs, cache=tmp_path / "file")


def test_seed_and_samples_decide_the_inputs(theirs: Path) -> None:
    options = ParityOptions(against=theirs, input_types=("random", "zeros"), samples=2)
    first, again, other = (verify_parity([theirs], replace(options, seed=seed))[0] for seed in (0, 0, 1))
    assert first.comparisons == again.comparisons
    assert [row.input for row in first.comparisons[:3]] == ["random", "random", "zeros"]
    assert first.comparisons[0].scale != first.comparisons[1].scale != other.comparisons[0].scale


def test_the_callers_network_is_unchanged(narrow: BuiltModel, narrow_artifacts: ExportResult) -> None:
    network = narrow.network
    before = {name: (value, value.clone()) for name, value in network.state_dict().items()}
    options = ParityOptions(input_types=("random", "video"), localize=True, determinism=True)
    reports = verify_parity([artifact.path for artifact in narrow_artifacts.artifacts], options, narrow)
    assert [report.passed for report in reports] == [True] * len(narrow_artifacts.artifacts)
    assert all(report.localization is not None and report.localization.first is None for report in reports)
    for name, value in network.state_dict().items():
        tensor, values = before[name]
        assert value.data_ptr() == tensor.data_ptr()
        assert (value.dtype, value.device.type) == (torch.float32, "cpu")
        assert torch.equal(value, values)


@pytest.mark.parametrize("against", ["torch", "onnx-reference"])
def test_a_second_engine_runs_the_same_batches(
    against: str, narrow: BuiltModel, narrow_artifacts: ExportResult
) -> None:
    options = ParityOptions(input_types=("random",), against=EngineReference(against))
    (report,) = verify_parity([narrow_artifacts.artifacts[0].path], options, narrow)
    assert report.passed
    assert [row.input for row in report.against_comparisons] == [row.input for row in report.comparisons]
    assert all(row.max_abs_diff is not None and row.max_abs_diff < 1e-3 for row in report.comparisons)


def test_a_batch_of_the_users_size_is_compared_too(narrow_artifacts: ExportResult, theirs: Path) -> None:
    options = ParityOptions(input_types=("random", "video"), batch_size=7)
    path = narrow_artifacts.artifacts[0].path
    (report,) = verify_parity((path,), options)
    assert sorted({row.batch for row in report.comparisons}) == [1, 2, 7]
    (against,) = verify_parity((theirs,), replace(options, against=theirs, input_types=("random",)))
    assert {row.batch for row in against.comparisons} == {1, 7}


def test_a_batch_size_that_a_model_does_not_take_is_refused(theirs: Path, tmp_path: Path) -> None:
    fixed = small_models.network(tmp_path / "fixed.onnx", batch=2)
    options = ParityOptions(against=theirs, input_types=("random",), batch_size=7)
    with pytest.raises(UsageError, match="--batch 7: .*fixed.onnx takes batches of 2 only"):
        verify_parity((fixed,), options)
    unbatched = small_models.one_node(tmp_path / "scalar.onnx", node("Relu", "x", "y"), ["n", "n"], ["n", "n"])
    with pytest.raises(UsageError, match="--batch: the inputs have no batch axis"):
        verify_parity((unbatched,), replace(options, against=unbatched))


def test_artifacts_of_one_network_share_its_reference(narrow_artifacts: ExportResult) -> None:
    steps: list[str] = []
    paths = [artifact.path for artifact in narrow_artifacts.artifacts]
    reports = verify_parity(paths, ParityOptions(input_types=("random",)), progress=steps.append)
    assert [Path(report.artifact) for report in reports] == paths
    assert steps.count("reference in float64, input 1 of 1: random") == 1


def test_each_artifact_of_a_network_that_cannot_be_built_is_refused_and_others_are_verified(
    narrow_artifacts: ExportResult, small_video_model: SmallVideoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = [artifact.path for artifact in narrow_artifacts.artifacts]
    rebuild = verify_module.rebuild_network

    def rebuild_others(artifact: LoadedArtifact, *given: Any) -> tuple[BuiltModel, tuple[str, ...]]:
        if artifact.path in lost:
            raise CheckpointError("c3d.pth: no such checkpoint")
        return rebuild(artifact, *given)

    monkeypatch.setattr(verify_module, "rebuild_network", rebuild_others)
    refused: list[C3DExportError] = []
    named = [lost[0], small_video_model.onnx, lost[1]]
    (report,) = verify_parity(named, ParityOptions(input_types=("random",)), refuse=refused.append)
    assert (report.artifact, report.passed) == (str(small_video_model.onnx), True)
    assert str(refused[0]) == "c3d.pth: no such checkpoint"
    assert str(refused[1]).startswith(f"{lost[1]}: ")
    with pytest.raises(CheckpointError, match="c3d.pth"):
        verify_parity(named, ParityOptions(input_types=("random",)))


def test_a_file_that_fails_on_every_input_is_refused_beside_others(theirs: Path, tmp_path: Path) -> None:
    shutil.copy(theirs, tmp_path / "mine.onnx")
    model = onnx.load(theirs)
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("strides", [0, 0]))
    broken = tmp_path / "broken.onnx"
    onnx.save(model, broken)
    refused: list[C3DExportError] = []
    options = ParityOptions(against=theirs, input_types=FEW)
    reports = verify_parity([broken, tmp_path / "mine.onnx"], options, refuse=refused.append)
    assert [report.artifact for report in reports] == [str(tmp_path / "mine.onnx")]
    (error,) = refused
    assert isinstance(error, ArtifactError)
