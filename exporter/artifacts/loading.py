"""Loading an artifact from disk, and building again the network it was exported from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from exporter.artifacts.manifest import Manifest, check_integrity, manifest_path, read_manifest
from exporter.artifacts.store import recover
from exporter.errors import ArtifactError, IntegrityError, UsageError
from exporter.types import FormatName
from models.built_model import BuiltModel
from models.checkpoints.info import CheckpointInfo
from models.options import BuildOptions
from models.paths import require_file
from models.progress import Progress, no_progress


class ArtifactReader(Protocol):
    """What loading needs to know of an artifact format."""

    name: FormatName
    suffix: str

    def read_embedded(self, path: Path) -> Manifest | None:
        """Return the manifest inside a model file without running it, or None if there is none."""
        ...


@dataclass(frozen=True)
class LoadedArtifact:
    """A model file on disk, and its manifest if it has one.

    Attributes:
        path: the model file.
        format: its format.
        manifest: the manifest beside the file (then its hashes were checked) or inside it; None if there is none.
        notes: what a reader of a report must know about it.
    """

    path: Path
    format: FormatName
    manifest: Manifest | None
    notes: tuple[str, ...]


def load_artifact(path: Path, formats: Sequence[ArtifactReader]) -> LoadedArtifact:
    """Find a model file and its manifest, and check one against the other.

    Args:
        path: the model file, or its manifest.
        formats: the formats it may have, recognised by suffix.

    Raises:
        ArtifactError: no such file, not an artifact, or a damaged manifest.
        IntegrityError: the manifest beside it describes another file, or contradicts the one inside it.
    """
    if path.name.endswith(".json") and path.with_name(path.name.removesuffix(".json")).is_file():
        path = path.with_name(path.name.removesuffix(".json"))
    require_file(path, "artifact", ArtifactError)
    reader = next((known for known in formats if path.suffix == known.suffix), None)
    if reader is None:
        suffixes = ", ".join(known.suffix for known in formats)
        raise ArtifactError(f"{path}: not an artifact by its name; artifacts end in {suffixes}")
    recover(path.parent)
    if manifest_path(path).is_file():
        manifest = read_manifest(manifest_path(path))
        check_integrity(path, manifest)
        if manifest.embedded() != reader.read_embedded(path):
            raise IntegrityError(f"{manifest_path(path)} differs from the manifest inside {path.name}")
        return LoadedArtifact(path, reader.name, manifest, ())
    manifest = reader.read_embedded(path)
    if manifest is None:
        return LoadedArtifact(path, reader.name, None, ("no manifest beside or inside the file",))
    note = "no manifest beside the file: the one inside it is used, and the file's bytes are not checked against a hash"
    return LoadedArtifact(path, reader.name, manifest, (note,))


def rebuild_network(
    artifact: LoadedArtifact, reference: BuildOptions | BuiltModel, progress: Progress = no_progress
) -> tuple[BuiltModel, tuple[str, ...]]:
    """Build the network that an artifact must equal.

    Args:
        artifact: with or without a manifest.
        reference: the checkpoint, where the manifest does not say where it is or is to be overruled; or the network
            itself.
        progress: called while a checkpoint is downloaded.

    Returns:
        the network, and notes about how it differs from the one the artifact was exported from.

    Raises:
        ArtifactError: there is no manifest and no checkpoint was named, the manifest's checkpoint is missing or is
            another file now, its seed gives other weights here, or this release cannot build the network.
        UsageError: options that describe a network whose manifest does so already.
        CheckpointError: the checkpoint does not load.
    """
    from models.builder import build, rebuild, state_sha256

    manifest = artifact.manifest
    if isinstance(reference, BuiltModel):
        same = manifest is None or state_sha256(reference.network) == manifest.network.state_sha256
        return reference, () if same else ("compared with a network whose weights are not those it was exported from",)
    if manifest is None:
        if reference.weights is None:
            raise ArtifactError(
                f"{artifact.path}: has no manifest beside or inside it, so there is nothing to compare it with; name "
                "its checkpoint with --weights, or another model file with --against"
            )
        return build(reference, progress), ()
    network, checkpoint = manifest.network, manifest.checkpoint
    if not network.architecture:
        raise ArtifactError(
            f"{artifact.path}: was exported from {network.description}, which this tool cannot build; compare it with "
            "another model file (--against FILE), or pass the network to exporter.verify_parity"
        )
    if reference.batch_norm or reference.pool5:
        raise UsageError(
            f"{artifact.path.name} has a manifest that describes its network ({network.description}); --batch-norm and "
            "--pool5 are for files without one"
        )
    weights = reference.weights or (checkpoint and _find_checkpoint(artifact.path, checkpoint))
    options = BuildOptions(
        seed=network.seed,
        weights=weights,
        layout=reference.layout if reference.weights or checkpoint is None else checkpoint.layout,
        new_head=checkpoint is not None and bool(checkpoint.reinitialized),
    )
    try:
        built = rebuild(network.architecture, network.settings, options, progress)
    except UsageError as error:
        raise ArtifactError(f"{artifact.path}: its manifest cannot be used: {error}") from error
    found = built.checkpoint.sha256 if built.checkpoint is not None else None
    recorded = checkpoint.sha256 if checkpoint is not None else None
    if found != recorded:
        if reference.weights is None:
            raise ArtifactError(
                f"{weights}: is not the checkpoint that {artifact.path.name} was exported from "
                f"(SHA-256 {str(found)[:16]}…, not {str(recorded)[:16]}…); name it with --weights"
            )
        return built, (f"compared with {weights}, which is not the file it was exported from",)
    if state_sha256(built.network) != network.state_sha256:
        raise ArtifactError(
            f"{artifact.path}: its network cannot be built again here: seed {network.seed} gives other weights on this "
            "kind of processor or with this torch; verify where it was exported, or export from a checkpoint"
        )
    return built, ()


def relative_to(path: Path, folder: Path) -> str:
    """Return `path` relative to `folder`, POSIX: how a manifest records where a checkpoint is."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _find_checkpoint(model: Path, record: CheckpointInfo) -> str | Path:
    """Return the manifest's checkpoint: where it was, beside the artifact, or its address.

    Raises:
        ArtifactError: it is at none of these.
    """
    candidates = [model.parent / name for name in (record.path, record.file) if name]
    for path in candidates:
        if path.is_file():
            return path
    if record.url is not None:
        return f"{record.url}#sha256={record.sha256}"
    tried = " or ".join(map(str, candidates))
    raise ArtifactError(f"{model}: its checkpoint {record.file} is not at {tried}; name it with --weights")
