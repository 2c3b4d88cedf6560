"""An artifact's files on disk: its model and the manifest beside it, read and compared with their sizes and hashes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from exporter.artifacts.manifest import FileEntry, Manifest
from exporter.errors import ArtifactError, IntegrityError
from models.paths import is_plain_name

MANIFEST_SUFFIX = ".json"
MAX_MANIFEST_BYTES = 16 << 20
"""Bytes of a manifest that are read at most: 100,000 tensors with their hashes take 10 MB."""


@dataclass(frozen=True)
class Artifact:
    """An artifact on disk: the model file, and its manifest from beside or inside it."""

    path: Path
    manifest: Manifest

    @property
    def files(self) -> tuple[Path, ...]:
        """The model file and the other files that the manifest lists, then the manifest itself."""
        listed = tuple(self.path.with_name(entry.path) for entry in self.manifest.files)
        return (*(listed or (self.path,)), manifest_path(self.path))


def manifest_path(model: Path) -> Path:
    """Return the path of the manifest of `model`: `c3d.onnx` has `c3d.onnx.json`."""
    return model.with_name(model.name + MANIFEST_SUFFIX)


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
    """Compare every file that the manifest lists with its size and hash.

    Raises:
        IntegrityError: a file is missing, or is not the one described.
        ArtifactError: the manifest lists a path outside its own folder, or not this model.
    """
    names = [entry.path for entry in manifest.files]
    for name in names:
        if not is_plain_name(name):
            raise ArtifactError(f"{manifest_path(model)}: lists {name!r}, which is not a file of its own folder")
    if model.name not in names:
        listed = ", ".join(names) or "no file"
        raise ArtifactError(
            f"{manifest_path(model)}: does not list {model.name}; was the file renamed? The manifest is of {listed}"
        )
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
                "manifest to use the file without one"
            )
