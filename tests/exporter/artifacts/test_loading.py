"""From an artifact to the network it must equal."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import narrow_state
from helpers.exported import ExportedByCommand
from helpers.manifests import MANIFEST

from exporter.artifacts.files import file_entry, sha256_file
from exporter.artifacts.loading import LoadedArtifact, rebuild_network, relative_to
from exporter.artifacts.manifest import describe_network
from exporter.errors import ArtifactError, CheckpointError, IntegrityError, UsageError
from exporter.formats import load_artifact
from models.builder import build, state_sha256
from models.checkpoints.info import CheckpointInfo
from models.config import C3DConfig
from models.options import BuildOptions


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / "c3d.pth"
    torch.save(narrow_state(5), path)
    return path


@pytest.fixture
def subject(weights: Path, tmp_path: Path) -> LoadedArtifact:
    checkpoint = CheckpointInfo(
        "c3d.pth", sha256_file(weights), "torch zip", "identity", 22, 22, 1, path="../weights/c3d.pth"
    )
    built = build(BuildOptions(weights=weights, pool5="right"))
    network = describe_network(built, state_sha256(built.network))
    manifest = replace(MANIFEST, network=network, checkpoint=checkpoint)
    (tmp_path / "artifacts").mkdir()
    return LoadedArtifact(tmp_path / "artifacts" / "c3d.onnx", "onnx", manifest, ())


def test_the_manifests_checkpoint_and_structure(subject: LoadedArtifact) -> None:
    built, notes = rebuild_network(subject, BuildOptions())
    assert built.settings == C3DConfig(5, pool5="right", base_channels=2, feature_dim=4).settings()
    assert notes == ()


def test_a_checkpoint_beside_the_artifact(subject: LoadedArtifact, weights: Path) -> None:
    shutil.move(weights, subject.path.with_name("c3d.pth"))
    assert rebuild_network(subject, BuildOptions())[0].checkpoint is not None


def test_a_checkpoint_that_is_gone_or_changed(subject: LoadedArtifact, weights: Path) -> None:
    torch.save({name: value.half() for name, value in narrow_state(5).items()}, weights)
    with pytest.raises(ArtifactError, match=r"is not the checkpoint that c3d.onnx was exported from.*--weights"):
        rebuild_network(subject, BuildOptions())
    built, notes = rebuild_network(subject, BuildOptions(weights=weights))
    assert built.settings["pool5"] == "right"
    assert "not the file it was exported from" in notes[0]
    weights.unlink()
    with pytest.raises(ArtifactError, match="checkpoint c3d.pth is not at .*name it with --weights"):
        rebuild_network(subject, BuildOptions())


def test_a_seed_that_gives_other_weights_here_is_reported(subject: LoadedArtifact) -> None:
    network = replace(MANIFEST.network, settings=C3DConfig(5, base_channels=8).settings(), state_sha256="0" * 64)
    manifest = replace(MANIFEST, network=network)
    with pytest.raises(ArtifactError, match="cannot be built again here: seed 0"):
        rebuild_network(replace(subject, manifest=manifest), BuildOptions())


def test_without_any_manifest_the_checkpoint_must_be_named(subject: LoadedArtifact, weights: Path) -> None:
    foreign = replace(subject, manifest=None)
    with pytest.raises(ArtifactError, match="--weights"):
        rebuild_network(foreign, BuildOptions())
    built, _ = rebuild_network(foreign, BuildOptions(weights=weights, pool5="right"))
    assert built.settings == C3DConfig(5, pool5="right", base_channels=2, feature_dim=4).settings()
    with pytest.raises(CheckpointError, match="without BatchNorm"):
        rebuild_network(foreign, BuildOptions(weights=weights, batch_norm=True))


def test_a_file_beside_its_manifest_and_a_lone_one(exported: ExportedByCommand, tmp_path: Path) -> None:
    beside = load_artifact(exported.onnx)
    assert (beside.format, beside.notes) == ("onnx", ())
    assert beside.manifest is not None
    os.link(exported.onnx, tmp_path / "c3d.onnx")
    lone = load_artifact(tmp_path / "c3d.onnx")
    assert lone.manifest == beside.manifest.embedded()
    assert "not checked against a hash" in lone.notes[0]
    (tmp_path / "c3d.onnx.json").write_bytes(exported.torchscript.with_name("c3d.pt.json").read_bytes())
    with pytest.raises(ArtifactError, match=r"does not list c3d.onnx"):
        load_artifact(tmp_path / "c3d.onnx")


def test_a_manifest_beside_that_contradicts_the_one_inside(exported: ExportedByCommand, tmp_path: Path) -> None:
    os.link(exported.onnx, tmp_path / "c3d.onnx")
    text = exported.onnx.with_name("c3d.onnx.json").read_text()
    (tmp_path / "c3d.onnx.json").write_text(text.replace('"channels": "RGB"', '"channels": "BGR"'))
    with pytest.raises(IntegrityError, match="differs from the manifest inside"):
        load_artifact(tmp_path / "c3d.onnx")


def test_structure_is_the_manifests_and_not_an_option(subject: LoadedArtifact) -> None:
    for options in (BuildOptions(pool5="right"), BuildOptions(batch_norm=True)):
        with pytest.raises(UsageError, match="has a manifest"):
            rebuild_network(subject, options)


def test_a_changed_file_is_not_even_loaded(tmp_path: Path) -> None:
    path = tmp_path / "c3d.pt"
    path.write_bytes(b"evil code")
    manifest = replace(MANIFEST, format="torchscript", files=(file_entry(path),))
    (tmp_path / "c3d.pt.json").write_text(manifest.to_json())
    path.write_bytes(b"EVIL code")
    with pytest.raises(IntegrityError, match="is not the file that c3d.pt.json describes"):
        load_artifact(path)


@pytest.mark.parametrize("name", ["none.onnx", "folder", "c3d.bin"])
def test_what_is_not_an_artifact(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "c3d.bin").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"no such artifact|not a file|artifacts end in .onnx, .pt"):
        load_artifact(tmp_path / name)


def test_a_path_is_recorded_relative_to_the_artifact(tmp_path: Path) -> None:
    assert relative_to(tmp_path / "weights" / "c3d.pth", tmp_path / "artifacts") == "../weights/c3d.pth"
