"""How artifacts and second engines are run: with a manifest, and without one."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.built import c3d
from helpers.code_files import own

from exporter.engines.float16_emulation import Float16Emulation
from exporter.engines.onnxruntime import OnnxRuntime
from exporter.errors import UsageError
from exporter.formats import load_artifact
from exporter.parity.evaluate import evaluate
from exporter.parity.execution import run_model
from exporter.parity.golden import GoldenOutputs
from exporter.parity.run_specs import TORCH, check_devices, make_run_spec, make_second_run_spec
from exporter.types import EngineReference, ParityOptions
from exporter.workflows.export import ExportResult
from models.built_model import BuiltModel

OPTIONS = ParityOptions()


def test_an_artifact_with_a_manifest_passes(
    narrow: BuiltModel, narrow_artifacts: ExportResult, golden: GoldenOutputs
) -> None:
    assert len(narrow_artifacts.artifacts) > 1
    for artifact in narrow_artifacts.artifacts:
        spec = make_run_spec(load_artifact(artifact.path), OPTIONS, narrow)
        report = evaluate(run_model(spec, golden.inputs), golden, OPTIONS)
        assert report.passed
        assert [row.batch for row in report.comparisons] == [1, 1, 1, 1, 2, 3]


def save_script(network: torch.nn.Module, path: Path) -> Path:
    torch.jit.save(torch.jit.script(network), str(path))  # pyright: ignore
    return own(path)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_torchscript_file_of_other_weights_fails(tmp_path: Path, golden: GoldenOutputs, narrow: BuiltModel) -> None:
    other = deepcopy(c3d(narrow))
    other.conv3a.weight.data *= 1.01
    artifact = load_artifact(save_script(other, tmp_path / "other.pt"))
    assert artifact.manifest is None
    result = run_model(make_run_spec(artifact, OPTIONS, narrow), golden.inputs)
    assert not evaluate(result, golden, OPTIONS).passed


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_outputs_of_another_shape_fail(tmp_path: Path, golden: GoldenOutputs, narrow: BuiltModel) -> None:
    artifact = load_artifact(save_script(torch.nn.Identity(), tmp_path / "identity.pt"))
    result = run_model(make_run_spec(artifact, OPTIONS, narrow), golden.inputs)
    assert {row.passed for row in evaluate(result, golden, OPTIONS).comparisons} == {False}


def test_the_second_engine_is_the_network_or_another_engine_for_the_file(
    narrow: BuiltModel, narrow_artifacts: ExportResult
) -> None:
    artifact = load_artifact(narrow_artifacts.artifacts[0].path)
    assert make_second_run_spec(artifact, OPTIONS, narrow) is None
    network = make_second_run_spec(artifact, ParityOptions(against=EngineReference(TORCH)), narrow)
    assert network is not None
    with network.open(network.settings) as runtime:
        assert runtime.description.startswith("PyTorch")
        assert {*network.map_io(runtime.signature).outputs} == {"logits"}
    openvino = make_second_run_spec(artifact, ParityOptions(against=EngineReference("openvino")), narrow)
    assert openvino is not None
    assert (openvino.path, openvino.unsupported_inputs) == (artifact.path, ("nan",))


def test_a_float16_file_is_judged_by_the_emulation_and_loaded_by_onnxruntime(
    narrow: BuiltModel, narrow_artifacts: ExportResult
) -> None:
    artifact = load_artifact(narrow_artifacts.artifacts[0].path)
    assert artifact.manifest is not None
    manifest = replace(artifact.manifest, options={**artifact.manifest.options, "precision": "fp16", "min_snr": 60.0})
    half = replace(artifact, manifest=manifest)
    spec, second = make_run_spec(half, OPTIONS, narrow), make_second_run_spec(half, OPTIONS, narrow)
    assert second is not None
    assert type(spec.open(spec.settings)) is Float16Emulation
    assert type(second.open(second.settings)) is OnnxRuntime
    assert spec.bound is not None
    assert second.bound is None
    own = ParityOptions(engine="onnxruntime")
    assert type(make_run_spec(half, own, narrow).open(spec.settings)) is OnnxRuntime
    assert make_second_run_spec(half, own, narrow) is None


def test_an_engine_of_another_format_is_refused(narrow_artifacts: ExportResult) -> None:
    artifact = load_artifact(narrow_artifacts.artifacts[0].path)
    with pytest.raises(UsageError, match="torchscript does not run onnx files"):
        check_devices((artifact,), ParityOptions(against=EngineReference("torchscript")))
