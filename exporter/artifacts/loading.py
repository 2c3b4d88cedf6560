"""From an artifact to the network it must equal: by its manifest, or by the checkpoint that the user names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.artifacts.manifest import Manifest, WeightsRecord, check_integrity, manifest_path, read_manifest
from exporter.artifacts.store import recover
from exporter.errors import ArtifactError, IntegrityError, UsageError
from exporter.formats import find_format
from exporter.types import FormatName, ReferenceOptions
from models.checkpoints.layouts import LAYOUTS
from models.paths import require_file

if TYPE_CHECKING:
    from models.builder import BuiltModel


@dataclass(frozen=True)
class LoadedArtifact:
    """A model file to be judged, and its manifest if it has one.

    Attributes:
        path: the model file.
        format: which runtime it takes.
        manifest: from beside it (then its files' hashes were checked) or from inside it.
        notes: what a reader must know of it.
    """

    path: Path
    format: FormatName
    manifest: Manifest | None
    notes: tuple[str, ...]


def load_artifact(path: Path) -> LoadedArtifact:
    """Find a model file and its manifest, and check the one against the other.

    Raises:
        ArtifactError: no such file, not an artifact, or a damaged manifest.
        IntegrityError: the manifest beside it describes another file, or contradicts the one inside it.
    """
    if path.name.endswith(".json") and path.with_name(path.name.removesuffix(".json")).is_file():
        path = path.with_name(path.name.removesuffix(".json"))
    require_file(path, "artifact", ArtifactError)
    kind = find_format(path)
    recover(path.parent)
    if manifest_path(path).is_file():
        manifest = read_manifest(manifest_path(path))
        check_integrity(path, manifest)
        if manifest.embedded() != kind.read_embedded(path):
            raise IntegrityError(f"{manifest_path(path)} says something else than the manifest inside {path.name}")
        return LoadedArtifact(path, kind.name, manifest, ())
    manifest = kind.read_embedded(path)
    if manifest is None:
        return LoadedArtifact(path, kind.name, None, ("no manifest beside or inside the file",))
    note = "no manifest beside the file: judged by the one inside it, its bytes are not checked against a hash"
    return LoadedArtifact(path, kind.name, manifest, (note,))


def rebuild_network(subject: LoadedArtifact, options: ReferenceOptions) -> tuple[BuiltModel, tuple[str, ...]]:
    """Build the network that the artifact must equal, and say what differs from the one it was exported from.

    Raises:
        ArtifactError: there is no manifest and no checkpoint was named, the manifest's checkpoint is not to be found or
            is another file now, or its seed draws another network here.
        UsageError: options that describe a network whose manifest does so already.
        CheckpointError: the checkpoint does not load.
    """
    from models.builder import build, state_sha256

    manifest = subject.manifest
    if manifest is None:
        if options.weights is None:
            raise ArtifactError(
                f"{subject.path}: has no manifest beside or inside it, so what should it equal? "
                "Name its checkpoint with --weights"
            )
        built = build(
            weights=options.weights, layout=options.layout, batch_norm=options.batch_norm, pool5=options.pool5
        )
        return built, ()
    record, config = manifest.weights, manifest.network
    if options.batch_norm or options.pool5:
        raise UsageError(
            f"{subject.path.name} has a manifest that says what it is ({config.describe()}); --batch-norm and --pool5 "
            "are for files without one"
        )
    if record.layout not in (None, *(layout.name for layout in LAYOUTS)):
        raise ArtifactError(
            f"{subject.path}: its manifest names a layout that this release does not know: {record.layout}"
        )
    weights = options.weights or _find_weights(subject.path, record)
    built = build(
        config.num_classes,
        batch_norm=config.batch_norm,
        pool5=config.pool5,
        seed=record.seed,
        weights=weights,
        layout=options.layout if options.weights or record.layout is None else record.layout,
        new_head=bool(record.reinitialized),
    )
    notes: list[str] = []
    if built.weights is not None and built.weights.sha256 != record.sha256:
        if options.weights is None:
            raise ArtifactError(
                f"{weights}: is not the checkpoint that {subject.path.name} was exported from "
                f"(SHA-256 {built.weights.sha256[:16]}…, not {str(record.sha256)[:16]}…); name it with --weights"
            )
        notes.append(f"held against {weights}, which is not the file it was exported from")
    elif state_sha256(built.network) != manifest.state_sha256:
        raise ArtifactError(
            f"{subject.path}: its network cannot be built again here: seed {record.seed} draws other numbers on this "
            "kind of processor or with this torch; verify where it was exported, or export from a checkpoint"
        )
    return built, tuple(notes)


def relative_to(path: Path, folder: Path) -> str:
    """Return `path` as seen from `folder`, POSIX: what a manifest records of a checkpoint's place."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _find_weights(model: Path, record: WeightsRecord) -> str | Path | None:
    """Return the manifest's checkpoint: where it was, beside the artifact, or its address; None for a seed."""
    if record.source == "seed":
        return None
    places = [model.parent / place for place in (record.path, record.file) if place]
    for place in places:
        if place.is_file():
            return place
    if record.url is not None:
        return f"{record.url}#sha256={record.sha256}"
    raise ArtifactError(
        f"{model}: its checkpoint {record.file} is not at {' or '.join(map(str, places))}; name it with --weights"
    )
