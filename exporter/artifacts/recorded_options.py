"""The build options of an artifact's network: what a user types to export it again."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from exporter.artifacts.files import has_manifest, manifest_path
from exporter.artifacts.loading import LoadedArtifact
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.rebuilding import find_checkpoint
from models.architectures import parse_settings
from models.checkpoints.info import CheckpointInfo
from models.checkpoints.sources import is_remote
from models.class_names import CLASS_LISTS, get_class_names
from models.config import C3DConfig
from models.options import BuildOptions, WeightSelection
from models.preprocessing.profiles import PROFILES, UNKNOWN


def find_build_options(artifact: LoadedArtifact, reference: BuildOptions) -> BuildOptions | None:
    """Return the options that build the network of an artifact; None for one that this tool cannot build.

    Args:
        artifact: a model file with a manifest, or without one.
        reference: its checkpoint, where the manifest does not say where it is or is to be overruled.

    Raises:
        ArtifactError: the manifest's checkpoint is not there.
    """
    manifest = artifact.manifest
    if manifest is None:
        return reference
    if not manifest.network.architecture:
        return None
    config = parse_settings(manifest.network.architecture, manifest.network.settings)
    checkpoint = manifest.checkpoint
    if checkpoint is None and reference.weights is None:
        return _seeded(_Choices(artifact, manifest, reference, config))
    found = reference.weights or (checkpoint and find_checkpoint(artifact.path, checkpoint))
    assert found is not None
    weights = found if is_remote(found) else Path(os.path.relpath(found))
    same = checkpoint is not None and reference.weights is None
    new_head = checkpoint is not None and bool(checkpoint.reinitialized)
    choices = _Choices(artifact, manifest, reference, config, all_stated=not same)
    return replace(
        choices.common(),
        num_classes=config.num_classes if new_head else None,
        pool5=config.pool5 if config.variant == "c3d" and choices.states("pool5") else None,
        seed=manifest.network.seed if new_head else 0,
        weights=weights,
        layout=checkpoint.layout if same and checkpoint else reference.layout,
        selection=choices.selection(checkpoint) if same and checkpoint else reference.selection,
        new_head=new_head,
    )


def _seeded(choices: _Choices) -> BuildOptions:
    """Return the options of a network that a seed initialised."""
    return replace(
        choices.common(),
        num_classes=choices.unusual("num_classes"),
        batch_norm=choices.config.batch_norm,
        pool5=choices.unusual("pool5"),
        seed=choices.manifest.network.seed,
        base_channels=choices.config.base_channels,
        feature_dim=choices.unusual("feature_dim"),
        fc7_dim=choices.unusual("fc7_dim"),
    )


@dataclass(frozen=True)
class _Choices:
    """What an artifact's user chose beside its weights, as options: given anew, or as the manifest records it.

    Attributes:
        artifact, manifest, config: the artifact and its network.
        reference: options that overrule the manifest.
        all_stated: the weights are another checkpoint's, so that what the manifest took from its own must be stated.
    """

    artifact: LoadedArtifact
    manifest: Manifest
    reference: BuildOptions
    config: C3DConfig
    all_stated: bool = False

    def common(self) -> BuildOptions:
        """Return the options that a network with a checkpoint and one without have alike."""
        return BuildOptions(
            input_size=self.unusual("clip_shape"),
            variant=self.unusual("variant"),
            labels=self.labels(),
            preprocess=self.preprocess(),
            mean=self.mean(),
        )

    def unusual(self, name: str) -> Any:
        """Return a field of the network's configuration; None where it is the published network's."""
        value = getattr(self.config, name)
        return None if value == getattr(C3DConfig(), name) else value

    def states(self, setting: str) -> bool:
        """Return whether the command must state a setting."""
        return self.all_stated or self.manifest.network.setting_sources.get(setting) == "option"

    def selection(self, checkpoint: CheckpointInfo) -> WeightSelection:
        """Return which tensors were taken; without what is empty, where that was found and not chosen."""
        taken = checkpoint.selection or self.reference.selection
        if self.states("selection"):
            return taken
        return replace(taken, key=taken.key or None, prefix=taken.prefix or None)

    def labels(self) -> str | Path | tuple[str, ...] | None:
        """Return the class names: a known list's name, the manifest's file, or themselves where there is none."""
        names = self.manifest.class_names
        if self.reference.labels is not None or names is None or not self.states("labels"):
            return self.reference.labels
        known = next((row.name for row in CLASS_LISTS if get_class_names(row.name) == names), None)
        return known or self._manifest_file() or names

    def preprocess(self) -> str | Path | None:
        """Return the profile: its name, or the manifest's file."""
        profile = self.manifest.preprocessing
        if self.reference.preprocess is not None or profile is None or not self.states("preprocess"):
            return self.reference.preprocess
        if profile.name == UNKNOWN.name:
            return None
        plain = replace(profile, mean_cube=None)
        sizes = (self.config.height, self.config.width)
        named = any(row.name == plain.name and row.scaled(*sizes) == plain for row in PROFILES)
        return plain.name if named else self._manifest_file()

    def mean(self) -> Path | None:
        """Return the mean file, where it is still there."""
        profile = self.manifest.preprocessing
        if self.reference.mean is not None or self.reference.preprocess is not None:
            return self.reference.mean
        if profile is None or profile.mean_cube is None:
            return None
        folder, record = self.artifact.path.parent, profile.mean_cube
        found = next((folder / name for name in (record.path, record.file) if name and (folder / name).is_file()), None)
        return found and Path(os.path.relpath(found))

    def _manifest_file(self) -> Path | None:
        """Return the manifest beside the artifact, of which `--labels` and `--preprocess` take what it records."""
        return Path(os.path.relpath(manifest_path(self.artifact.path))) if has_manifest(self.artifact.path) else None
