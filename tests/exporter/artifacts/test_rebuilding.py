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
from exporter.artifacts.rebuilding import rebuild_network, relative_to, with_recorded_profile
from exporter.errors import ArtifactError, CheckpointError, UsageError
from models.builder import build, state_sha256
from models.checkpoints.info import CheckpointInfo
from models.config import C3DConfig
from models.options import BuildOptions
from models.preprocessing.profiles import JFZHANG95
from models.preprocessing.recipe import Preprocessing


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


def test_where_the_manifest_overrules_the_checkpoint_is_noted(subject: LoadedArtifact, weights: Path) -> None:
    """Whoever wrote the manifest could make a wrong network the reference, also where the user names the weights."""
    assert subject.manifest is not None
    assert subject.manifest.checkpoint is not None
    proven = replace(subject.manifest.checkpoint, layout="jfzhang95-training")
    forged = replace(subject, manifest=replace(subject.manifest, checkpoint=proven))
    _, notes = rebuild_network(forged, BuildOptions())
    assert notes == ("pool5 is right, as its manifest states; the checkpoint's convention is symmetric",)
    _, notes = rebuild_network(forged, BuildOptions(weights=weights, layout="jfzhang95-training"))
    assert "the checkpoint's convention is symmetric" in notes[0]

    built = build(BuildOptions(weights=weights, pool5="right", new_head=True, num_classes=7, seed=4))
    network = describe_network(built, state_sha256(built.network))
    checkpoint = replace(subject.manifest.checkpoint, reinitialized=("fc8.weight", "fc8.bias"))
    new_head = replace(subject, manifest=replace(subject.manifest, network=network, checkpoint=checkpoint))
    for options in (BuildOptions(), BuildOptions(weights=weights)):
        _, notes = rebuild_network(new_head, options)
        assert "fc8 is not the checkpoint's: it is initialised from seed 4" in notes[0]


@pytest.mark.parametrize(
    ("recorded", "needs_mean", "noted"),
    [
        (JFZHANG95, True, False),
        (replace(JFZHANG95, source="in other words"), True, False),
        (replace(JFZHANG95, mean=(0.0, 0.0, 0.0)), True, True),
        (replace(JFZHANG95, mean=(0.0, 0.0, 0.0)), False, False),
    ],
)
def test_a_profile_that_is_not_its_checkpoints_is_noted(
    recorded: Preprocessing, *, needs_mean: bool, noted: bool, tmp_path: Path
) -> None:
    model = replace(build(BuildOptions(num_classes=5, base_channels=2, feature_dim=4)), preprocessing=JFZHANG95)
    manifest = replace(MANIFEST, preprocessing=recorded)
    _, notes = with_recorded_profile(model, manifest, tmp_path, BuildOptions(), needs_mean=needs_mean)
    assert any("with other values" in note for note in notes) is noted


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
