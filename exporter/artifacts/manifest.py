"""An artifact is its model file(s) and a manifest beside them. docs/artifacts.md describes the format.

The manifest's essential part (all but what only exists once the file is written) is also inside the model file, so
that a lone file still tells what it is. Law: `Manifest.from_json(manifest.to_json()) == manifest`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from exporter.errors import ArtifactError, IntegrityError
from exporter.types import FormatName, Signature, c3d_signature
from models.config import MAX_CLASSES, OUTPUTS, C3DConfig, Output, Pool5
from models.preprocessing import CROP_SIZE, Preprocessing

MANIFEST_VERSION = 1
MANIFEST_SUFFIX = ".json"
CHUNK = 1 << 22
MAX_MANIFEST_BYTES = 1 << 20

OptionValue = str | int | bool | list[str] | None


@dataclass(frozen=True)
class FileEntry:
    """A file of the artifact: its name in the manifest's folder, size in bytes and SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class WeightsRecord:
    """Where the parameters came from.

    Attributes:
        source: `seed` (initialised) or `file` (a checkpoint).
        seed: of whatever was initialised.
        file: the checkpoint's file name.
        sha256: of its bytes.
        container: the kind of file.
        layout: the origin it was recognised as.
        loaded: tensors taken from it.
        total: tensors the network has.
        fresh: names that were initialised instead.
        converted: dtypes that were converted to float32.
        aside: tensors of the checkpoint that only training needs.
        pool5: the convention that the checkpoint or its origin tells, whatever was chosen.
        url: where the checkpoint was downloaded from.
        path: the checkpoint relative to the manifest's folder, POSIX; only in the manifest beside the file.
    """

    source: str
    seed: int
    file: str | None = None
    sha256: str | None = None
    container: str | None = None
    layout: str | None = None
    loaded: int = 0
    total: int = 0
    reinitialized: tuple[str, ...] = ()
    converted: tuple[str, ...] = ()
    ignored_keys: tuple[str, ...] = ()
    pool5: Pool5 | None = None
    url: str | None = None
    path: str | None = None


@dataclass(frozen=True)
class ParityRecord:
    """The verdict at export: runtime, device, the factor, and the worst share of the budget that was used."""

    passed: bool
    runtime: str
    device: str
    factor: float
    max_budget_used: float


@dataclass(frozen=True)
class Manifest:
    """What an artifact is, how it was made, and what it answers.

    Attributes:
        version: of this format.
        producer: name and version of the tool.
        name: the artifact's name.
        format: the artifact's format.
        network: the network's structure.
        pool5_source: who chose pool5's convention: `default`, `layout`, `file` (the checkpoint tells) or `option`.
        parameters: trainable numbers in the network.
        state_sha256: of the network's state, see `models.builder.state_sha256`.
        weights: where the parameters came from.
        preprocessing: what they expect of their pixels.
        signature: inputs and outputs.
        options: the export options that decide the model file's bytes.
        versions: of the libraries that decide them.
        files: the artifact's files, the model first. Empty inside a model file.
        parity: the verdict at export. Never inside a model file.
    """

    version: int
    producer: str
    name: str
    format: FormatName
    network: C3DConfig
    pool5_source: str
    parameters: int
    state_sha256: str
    weights: WeightsRecord
    preprocessing: Preprocessing
    signature: Signature
    options: dict[str, OptionValue]
    versions: dict[str, str]
    files: tuple[FileEntry, ...] = ()
    parity: ParityRecord | None = None

    def to_json(self) -> str:
        """Return the manifest as JSON: keys sorted, two spaces, a newline at the end."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2).decode() + "\n"

    @staticmethod
    def from_json(text: str | bytes, where: str = "manifest") -> Manifest:
        """Parse a manifest.

        Raises:
            ArtifactError: not JSON, or fields missing or of the wrong type; the message names the field.
        """
        try:
            manifest = msgspec.json.decode(text, type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ArtifactError(f"{where}: not a manifest of this tool: {error}") from error
        if manifest.version != MANIFEST_VERSION:
            raise ArtifactError(
                f"{where}: manifest version {manifest.version}; this release reads version {MANIFEST_VERSION}"
            )
        if fault := _validate(manifest):
            raise ArtifactError(f"{where}: not a manifest of this tool: {fault}")
        return manifest

    def embedded(self) -> Manifest:
        """Return what goes inside the model file: nothing that depends on the file's bytes or its place."""
        return replace(self, files=(), parity=None, weights=replace(self.weights, path=None))


def _validate(manifest: Manifest) -> str | None:
    """Return what no export would write: values that types alone do not rule out."""
    recipe, signature = manifest.preprocessing, manifest.signature
    names: tuple[Output, ...] = tuple(name for output in signature.outputs for name in OUTPUTS if name == output.name)
    classes = manifest.network.num_classes
    width, height = recipe.frame_size(1, 1)
    top, left = recipe.crop or (0, 0)
    faults = {
        f"{classes} classes": not (1 if {"logits", "probabilities"} & {*names} else 0) <= classes <= MAX_CLASSES,
        f"seed {manifest.weights.seed}": not 0 <= manifest.weights.seed < 2**63,
        f"crop {recipe.crop} of {recipe.resize}": min(top, left, height - top - CROP_SIZE, width - left - CROP_SIZE)
        < 0,
        f"signature {signature}": not signature.inputs
        or not names
        or (signature.batch is not None and signature.batch < 1)
        or signature != c3d_signature(names, classes, signature.batch),
        "external data without its file": bool(manifest.files)
        and (manifest.options.get("external_data") is True) != (len(manifest.files) > 1),
    }
    return next((fault for fault, found in faults.items() if found), None)


@dataclass(frozen=True)
class Artifact:
    """An artifact on disk: the model file, and its manifest from beside or inside it."""

    path: Path
    manifest: Manifest

    @property
    def files(self) -> tuple[Path, ...]:
        """The model file and whatever else the manifest lists, then the manifest itself."""
        listed = tuple(self.path.with_name(entry.path) for entry in self.manifest.files)
        return (*(listed or (self.path,)), manifest_path(self.path))


def manifest_path(model: Path) -> Path:
    """Return where the manifest of `model` stands: `c3d.onnx` has `c3d.onnx.json`."""
    return model.with_name(model.name + MANIFEST_SUFFIX)


def is_plain_name(name: str) -> bool:
    """Tell whether a name from a file stays in that file's own folder."""
    return Path(name).name == name and name not in ("", ".", "..") and "\0" not in name


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_entry(path: Path) -> FileEntry:
    """Describe a file by name, size and SHA-256."""
    return FileEntry(path.name, path.stat().st_size, sha256_file(path))


def read_manifest(path: Path) -> Manifest:
    """Read the manifest file at `path`.

    Raises:
        ArtifactError: unreadable or not a manifest.
    """
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ArtifactError(f"{path}: too large for a manifest")
        return Manifest.from_json(path.read_bytes(), str(path))
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error


def check_integrity(model: Path, manifest: Manifest) -> None:
    """Hold every file that the manifest lists against its size and hash.

    Raises:
        IntegrityError: a file is missing, or is not the one described.
        ArtifactError: the manifest lists a path outside its own folder, or not this model.
    """
    names = [entry.path for entry in manifest.files]
    for name in names:
        if not is_plain_name(name):
            raise ArtifactError(f"{manifest_path(model)}: lists {name!r}, which is not a file of its own folder")
    if model.name not in names:
        raise ArtifactError(f"{manifest_path(model)}: does not list {model.name}; was the file renamed?")
    for entry in manifest.files:
        path = model.with_name(entry.path)
        try:
            found = file_entry(path)
        except OSError as error:
            raise IntegrityError(
                f"{path} is missing or cannot be read ({error.strerror}); {manifest_path(model).name} lists it"
            ) from error
        if found != entry:
            raise IntegrityError(
                f"{path} is not the file that {manifest_path(model).name} describes: {found.bytes} bytes, SHA-256 "
                f"{found.sha256[:16]}…, not {entry.bytes} bytes, {entry.sha256[:16]}…; export it again, or remove the "
                "manifest to judge the file on its own"
            )
