"""Loading an artifact from disk: its model file, its manifest, and the check of one against the other."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from exporter.artifacts.files import (
    MANIFEST_SUFFIX,
    check_integrity,
    data_files,
    has_manifest,
    manifest_path,
    read_manifest_text,
    sha256_file,
)
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.provenance import check_expected, check_provenance, is_manifest_recorded, require_covered, vouch
from exporter.artifacts.store import recover
from exporter.errors import ArtifactError, IntegrityError
from exporter.file_state import FileState, file_state, require_unchanged
from exporter.load_checks import RECORDED_ONLY, LoadChecks, Vouched
from exporter.types import FormatName
from models.paths import require_file
from models.specs import Signature


class ArtifactReader(Protocol):
    """What loading needs to know of an artifact format."""

    name: FormatName
    suffix: str
    embeds_manifest: bool

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
        states: the files as they were when they were hashed, or without a manifest beside them when they were found.
        vouched: whether it may run, if it is code.
        provenance: who signed it, and whether that was checked, in words.
        is_believed: whether its manifest may ask for less accuracy than its precision has by default: it is signed by a
            key that the user named, or this tool wrote it here.
    """

    path: Path
    format: FormatName
    manifest: Manifest | None
    notes: tuple[str, ...]
    states: tuple[FileState, ...] = ()
    vouched: Vouched = RECORDED_ONLY
    provenance: str = "not signed"
    is_believed: bool = False

    @property
    def sha256(self) -> str:
        """SHA-256 of the model file: as it was checked when it was loaded, else computed now."""
        known = (state.sha256 for state in self.states if state.path == str(self.path))
        return next(filter(None, known), None) or sha256_file(self.path)

    def require_unchanged(self) -> None:
        """Refuse a result that was computed from other files than those that were hashed.

        Raises:
            IntegrityError: a file was replaced or written to since.
        """
        require_unchanged(self.states)


def load_artifact(
    path: Path,
    formats: Sequence[ArtifactReader],
    checks: LoadChecks | None = None,
    takes: Sequence[ArtifactReader] = (),
) -> LoadedArtifact:
    """Find a model file and its manifest, and check one against the other.

    Args:
        path: the model file, or its manifest.
        formats: the formats it may have, recognised by suffix.
        checks: what it must be, for a file that is going to run; None for one that is only read.
        takes: those of the formats that the caller takes, for the message of a file of none; () for all of them.

    Raises:
        ArtifactError: no such file, not an artifact, or a damaged manifest; or code that may not run here.
        IntegrityError: the manifest beside it describes another file, or contradicts the one inside it.
    """
    named, path = path, find_model(path)
    reader = by_suffix(path, formats)
    if reader is None:
        raise wrong_file(path, takes or formats)
    wanted = checks or LoadChecks()
    text = beside_text(path)
    pinned = check_expected(named, path, text, wanted)
    found = find_manifest(path, lambda: reader.read_embedded(path), text, embeds=reader.embeds_manifest)
    if found.fault:
        raise IntegrityError(found.fault)
    provenance = check_provenance(path, found.manifest, text, wanted)
    require_covered(named, path, reader.name, wanted)
    vouched, notes = RECORDED_ONLY, () if found.beside else (_note(found),)
    if checks is not None:
        listed = {entry.path: entry.sha256 for entry in found.manifest.files} if found.beside and found.manifest else {}
        sha256 = listed.get(path.name) or sha256_file(path)
        vouched = vouch(path, reader.name, sha256, checks, provenance)
    if found.beside and found.manifest is not None:
        _require_listed(path, reader.name, found.manifest)
    states = (*pinned, *found.states)
    is_believed = bool(wanted.verify_keys) or is_manifest_recorded(text)
    return LoadedArtifact(path, reader.name, found.manifest, notes, states, vouched, provenance, is_believed)


def wrong_file(path: Path, formats: Iterable[ArtifactReader]) -> ArtifactError:
    """Return the error of a file of none of the formats; of a checkpoint it names the command that exports it."""
    from models.checkpoints.readers import identify

    *others, last = (known.suffix for known in formats)
    suffixes = " or ".join((*([", ".join(others)] if others else []), last))
    if checkpoint := identify(path):
        command = shlex.join(["c3d-export", "--format", "onnx", "--weights", str(path)])
        return ArtifactError(
            f"{path}: a checkpoint ({checkpoint}), not an exported file, which ends in {suffixes}; to export it: "
            f"{command}"
        )
    return ArtifactError(
        f"{path}: not an exported file, whose name ends in {suffixes}; c3d-export --format onnx --weights CHECKPOINT "
        "makes one"
    )


def _require_listed(model: Path, artifact_format: FormatName, manifest: Manifest) -> None:
    """Refuse a model with weights in a file that its manifest does not list: nothing was compared with a hash there.

    Raises:
        IntegrityError: the message names the file.
    """
    listed = {entry.path for entry in manifest.files}
    if unlisted := [path for path in data_files(model, artifact_format) if path.name not in listed]:
        raise IntegrityError(
            f"{model} has weights in {unlisted[0].name}, which {manifest_path(model).name} does not list"
        )


R = TypeVar("R", bound=ArtifactReader)


def by_suffix(path: Path, formats: Iterable[R]) -> R | None:
    """Return the format whose suffix a file name ends in, the longest such suffix; None where there is none."""
    fitting = [known for known in formats if path.name.endswith(known.suffix)]
    return max(fitting, key=lambda known: len(known.suffix), default=None)


@dataclass(frozen=True)
class FoundManifest:
    """The manifest of a model file.

    Attributes:
        manifest: the manifest beside the file, otherwise the one inside it; None if there is none.
        beside: whether it is beside the file.
        fault: how the file or the manifest inside it contradicts the manifest beside it; empty if nothing does.
        states: see `LoadedArtifact`.
    """

    manifest: Manifest | None
    beside: bool
    fault: str = ""
    states: tuple[FileState, ...] = ()


def find_model(path: Path) -> Path:
    """Return the model file that `path` names, itself or by its manifest, and finish what a killed run left there.

    Args:
        path: a model file or its manifest.

    Raises:
        ArtifactError: no such file.
    """
    if path.suffix == MANIFEST_SUFFIX and (model := path.with_suffix("")).suffix:
        if path.is_file() and not model.exists():
            raise ArtifactError(f"no such file: {model}; {path.name} is its manifest by its name")
        path = model if model.is_file() else path
    require_file(path, "file", ArtifactError)
    recover(path.parent)
    return path


def beside_text(model: Path) -> bytes | None:
    """Return the bytes of the manifest beside a model; None where there is none.

    Raises:
        ArtifactError: it cannot be read.
    """
    return read_manifest_text(manifest_path(model)) if has_manifest(model) else None


def find_manifest(
    model: Path, read_embedded: Callable[[], Manifest | None], text: bytes | None, *, embeds: bool = True
) -> FoundManifest:
    """Find a model file's manifest and check one against the other.

    Args:
        model: the model file.
        read_embedded: returns the manifest inside it; called only if the file's hash is right.
        text: the bytes of the manifest beside it (`beside_text`).
        embeds: whether a file of its format has room for one.

    Raises:
        ArtifactError: a damaged manifest.
    """
    beside = manifest_path(model)
    if text is None:
        try:
            states = (file_state(model),)
        except OSError as error:
            raise ArtifactError(f"cannot read {model}: {error.strerror}") from error
        return FoundManifest(read_embedded(), beside=False, states=states)
    manifest = Manifest.from_json(text, str(beside))
    fault, states = "", ()
    try:
        states = check_integrity(model, manifest)
    except IntegrityError as error:
        fault = str(error)
    if not fault and embeds and manifest.embedded() != read_embedded():
        fault = f"{beside} differs from the manifest inside {model.name}"
    return FoundManifest(manifest, beside=True, fault=fault, states=states)


def stated_signature(artifact: LoadedArtifact) -> Signature | None:
    """Return what a model takes and returns as its manifest states it, or its graph; None where neither does.

    Raises:
        ArtifactError: the file cannot be read.
    """
    if artifact.manifest is not None:
        return artifact.manifest.signature
    if artifact.format == "onnx":
        from exporter.onnx_io.signature import read_signature

        return read_signature(artifact.path)
    if artifact.format == "openvino":
        from exporter.openvino_ir import read_ir

        return read_ir(artifact.path).signature
    return None


def _note(found: FoundManifest) -> str:
    if found.manifest is None:
        return "no manifest beside or inside the file"
    return "no manifest beside the file: the one inside it is used, and the file's bytes are not checked against a hash"
