"""The command that a hint prints runs as it is printed, and writes the artifact with the outputs asked for."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from helpers.checkpoints import narrow_state

from exporter.artifacts.export_again import export_again_command
from exporter.artifacts.loading import LoadedArtifact
from exporter.cli.main import cli
from exporter.formats import load_artifact
from exporter.requests import ExportRequest
from exporter.types import OptimizeOptions
from exporter.workflows.export import export
from models.options import BuildOptions

OUTPUTS = ("logits", "fc6")


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    torch.save(narrow_state(5), "my net.pth")
    return Path("my net.pth")


def written(folder: str, name: str | None, model: BuildOptions, **given: Any) -> LoadedArtifact:
    request = ExportRequest(("onnx",), model, output_dir=Path(folder), name=name, verify=False)
    return load_artifact(export(replace(request, **given)).artifacts[0].path)


def test_it_writes_the_same_artifact_with_other_outputs(checkpoint: Path) -> None:
    first = BuildOptions(weights=checkpoint, pool5="right", preprocess="jfzhang95")
    artifact = written(
        "out", "net", first, batch=2, opset=20, external_data=True, optimize=OptimizeOptions("cpu", weight_dtype="fp16")
    )
    command = export_again_command(artifact, OUTPUTS)
    program, *arguments = shlex.split(str(command))
    assert program == "c3d-export"
    result = CliRunner().invoke(cli, [*arguments, "--no-verify"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    before, after = artifact.manifest, load_artifact(artifact.path).manifest
    assert before is not None
    assert after is not None
    assert tuple(output.name for output in after.signature.outputs) == OUTPUTS
    assert after.signature.inputs == before.signature.inputs
    assert (after.network, after.checkpoint) == (before.network, before.checkpoint)
    named = ("target", "opset", "external_data", "weight_dtype", "precision")
    assert {name: after.options[name] for name in named} == {name: before.options[name] for name in named}


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        ({"precision": "int8", "min_snr": 30.0, "weight_dtype": "int8"}, ["--precision", "int8"]),
        (
            {"precision": "bf16", "min_snr": 33.0, "min_top1": 0.5},
            ["--precision", "bf16", "--min-snr", "33", "--min-top1", "0.5"],
        ),
        ({"target": "a stranger's", "weight_dtype": "int2"}, []),
    ],
)
def test_what_it_computes_in_is_stated(recorded: dict[str, object], words: list[str], checkpoint: Path) -> None:
    artifact = written("artifacts", None, BuildOptions(weights=checkpoint))
    assert artifact.manifest is not None
    manifest = replace(artifact.manifest, options={**artifact.manifest.options, **recorded})
    found = shlex.split(str(export_again_command(replace(artifact, manifest=manifest), OUTPUTS)))
    usual = ["c3d-export", "--format", "onnx", "--weights", "my net.pth", "--layout", "identity", "--outputs"]
    assert {*found} == {*usual, "logits,fc6", *words}


def test_a_checkpoint_that_is_not_there_is_left_to_the_user(checkpoint: Path) -> None:
    artifact = written("artifacts", None, BuildOptions(weights=checkpoint))
    checkpoint.unlink()
    assert "--weights CHECKPOINT" in str(export_again_command(artifact, OUTPUTS))


def test_a_network_of_the_users_own_has_no_command(checkpoint: Path) -> None:
    artifact = written("artifacts", None, BuildOptions(weights=checkpoint))
    assert artifact.manifest is not None
    network = replace(artifact.manifest.network, architecture="")
    own = replace(artifact, manifest=replace(artifact.manifest, network=network))
    assert export_again_command(own, OUTPUTS) is None
    assert export_again_command(replace(artifact, manifest=None), OUTPUTS) is None
