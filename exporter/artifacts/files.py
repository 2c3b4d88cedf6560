"""An artifact's files on disk: its model, data and manifest, read and compared with their sizes and hashes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_fields import FileEntry
from exporter.errors import ArtifactError, IntegrityError
from exporter.file_state import FileState, file_state, hashed_file_state
from exporter.types import FormatName
from models.config import MAX_MANIFEST_BYTES
from models.paths import is_plain_name, read_small_file

MANIFEST_SUFFIX = ".json"


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


@dataclass(frozen=True)
class FileCheck:
    """A file that a manifest lists, and what is there.

    Attributes:
        path: where it should be.
        found: the file that is there; None where there is none. Of one of another size the hash is not computed.
        fault: how the two differ; empty if they do not.
    """

    path: Path
    found: FileState | None
    fault: str = ""


def manifest_path(model: Path) -> Path:
    """Return the path of the manifest of `model`: `c3d.onnx` has `c3d.onnx.json`."""
    return model.parent / f"{model.name}{MANIFEST_SUFFIX}"  # `.` and `/` have no name to change


def has_manifest(model: Path) -> bool:
    """Return whether something is beside a model under the name of its manifest; `read_manifest` says if it is one."""
    return os.path.lexists(manifest_path(model))


def data_files(path: Path, artifact_format: FormatName) -> tuple[Path, ...]:
    """Return the files beside a model file that hold weights of it.

    Raises:
        ArtifactError: it cannot be read.
    """
    if artifact_format == "onnx":
        from exporter.onnx_io.external_data import external_files

        return external_files(path)
    if artifact_format == "openvino":
        from exporter.openvino_ir import WEIGHTS_SUFFIX

        return (path.with_suffix(WEIGHTS_SUFFIX),)
    return ()


def read_data_names(model: Path) -> list[str]:
    """Return the names of the data files of an ONNX model, whether they are there or not.

    Raises:
        ArtifactError: the model is missing, or no ONNX model.
        LimitError: its functions expand to too many nodes.
    """
    from exporter.onnx_io.external_data import external_locations
    from exporter.onnx_io.load import load_without_weights

    return external_locations(load_without_weights(model), model)


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes; raises as `exporter.file_state.hashed_file_state` does."""
    return file_entry(path).sha256


def file_entry(path: Path) -> FileEntry:
    """Describe a file by name, size and SHA-256; raises as `exporter.file_state.hashed_file_state` does."""
    found = hashed_file_state(path)
    assert found.sha256 is not None
    return FileEntry(path.name, found.bytes, found.sha256)


def read_manifest(path: Path) -> Manifest:
    """Read the manifest file at `path`.

    Raises:
        ArtifactError: unreadable or not a manifest.
    """
    return Manifest.from_json(read_manifest_text(path), str(path))


def read_manifest_text(path: Path) -> bytes:
    """Return the bytes of the manifest file at `path`.

    Raises:
        ArtifactError: unreadable, or too large for a manifest.
    """
    return read_small_file(path, "manifest", MAX_MANIFEST_BYTES, ArtifactError)


def check_integrity(model: Path, manifest: Manifest) -> tuple[FileState, ...]:
    """Compare every file that the manifest lists with its size and hash, and return which files these were.

    Raises:
        IntegrityError: a file is missing, or is not the one described.
        ArtifactError: the manifest lists a path outside its own folder, or not this model.
    """
    checks = check_files(model, manifest)
    if fault := next((check.fault for check in checks if check.fault), ""):
        raise IntegrityError(fault)
    return tuple(check.found for check in checks if check.found is not None)


def check_files(model: Path, manifest: Manifest) -> tuple[FileCheck, ...]:
    """Compare every file that the manifest lists with its size and hash, in the order of the manifest.

    Raises:
        ArtifactError: the manifest lists a path outside its own folder, a file twice, or not this model.
    """
    names = [entry.path for entry in manifest.files]
    for name in names:
        if not is_plain_name(name):
            raise ArtifactError(f"{manifest_path(model)}: lists {name!r}, which is not a file of its own folder")
        if names.count(name) > 1:
            raise ArtifactError(f"{manifest_path(model)}: lists {name} twice")
    if model.name not in names:
        listed = ", ".join(names) or "no file"
        raise ArtifactError(
            f"{manifest_path(model)}: does not list {model.name}; was the file renamed? The manifest is of {listed}"
        )
    return tuple(_check(model, entry) for entry in manifest.files)


def _check(model: Path, listed: FileEntry) -> FileCheck:
    path, beside = model.with_name(listed.path), manifest_path(model).name
    try:
        found = file_state(path)
        if found.bytes == listed.bytes:
            found = hashed_file_state(path)
    except OSError as error:
        return FileCheck(path, None, f"{path} is missing or cannot be read ({error.strerror}); {beside} lists it")
    if (found.bytes, found.sha256) == (listed.bytes, listed.sha256):
        return FileCheck(path, found)
    hashed = found.sha256 is not None
    there = f"{found.bytes} bytes" + (f", SHA-256 {found.sha256[:16]}…" if found.sha256 else "")
    fault = (
        f"{path} is not the file that {beside} describes: {there}, not {listed.bytes} bytes"
        f"{f', {listed.sha256[:16]}…' if hashed else ''}; export it again, or remove the manifest to use the file "
        "without one"
    )
    return FileCheck(path, found, fault)
