"""From an artifact to the network it must equal."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import narrow_state
from helpers.manifests import MANIFEST

from exporter.artifacts.files import sha256_file
from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.manifest import describe_network
from exporter.artifacts.rebuilding import rebuild_network, relative_to
from exporter.errors import ArtifactError, CheckpointError, UsageError
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


def test_structure_is_the_manifests_and_not_an_option(subject: LoadedArtifact) -> None:
    for options in (BuildOptions(pool5="right"), BuildOptions(batch_norm=True)):
        with pytest.raises(UsageError, match="has a manifest"):
            rebuild_network(subject, options)


def test_a_path_is_recorded_relative_to_the_artifact(tmp_path: Path) -> None:
    assert relative_to(tmp_path / "weights" / "c3d.pth", tmp_path / "artifacts") == "../weights/c3d.pth"
