"""The zip archives that torch writes: read as data, and rewritten so that one network always gives the same bytes."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, ClassVar

from exporter.artifacts.manifest import Manifest
from exporter.engines.torch_members import ZIP_ERRORS, open_archive
from exporter.errors import ArtifactError
from exporter.formats.base import Format
from exporter.formats.torch_stored import MAX_MANIFEST_BYTES, WeightsForm, read_stored_archive
from exporter.stored_tensors import StoredModel
from models.config import MANIFEST_KEY
from models.unpacking import max_unpacked

ALIGNMENT = 64
"""Of the offset of each member's content, in bytes, as torch writes them, so that tensors can be memory-mapped."""
EPOCH = (1980, 1, 1, 0, 0, 0)

Edit = Callable[[str, bytes], tuple[str, bytes] | None]
"""(member's name without the archive's folder, content) -> name and content to write; None leaves the member out."""


def rewrite_archive(source: BinaryIO, target: Path, edit: Edit, extra: Mapping[str, bytes] | None = None) -> None:
    """Copy an archive of torch under the folder name `archive`, without its serialization id, which hashes the rest.

    Args:
        source: the archive as torch wrote it.
        target: the file to write.
        edit: called with each other member.
        extra: {name: content} of members to add.
    """

    def add(new: zipfile.ZipFile, inside: str, content: bytes) -> None:
        name = f"archive/{inside}"
        entry = zipfile.ZipInfo(name, date_time=EPOCH)
        assert new.fp is not None
        header = new.fp.tell() + 30 + len(name.encode()) + 4
        entry.extra = b"FB" + (padding := -header % ALIGNMENT).to_bytes(2, "little") + bytes(padding)
        new.writestr(entry, content)

    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for member in old.infolist():
            inside = member.filename.split("/", 1)[1]
            if inside == ".data/serialization_id":
                continue
            edited = edit(inside, old.read(member))
            if edited is not None:
                add(new, *edited)
        for name, content in (extra or {}).items():
            add(new, name, content)


def has_member(path: Path, *endings: str) -> bool:
    """Return whether a file is an archive with a member whose name ends in one of `endings`; no pipe is waited for."""
    if not os.path.isfile(path):  # noqa: PTH113 - of a path that may not be looked at, Path's raises
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(endings) for name in archive.namelist())
    except ZIP_ERRORS:
        return False


class TorchArchiveFormat(Format):
    """A format whose files are zip archives that torch writes."""

    title: ClassVar[str]
    """What a file is, for messages: `TorchScript archive`."""
    marker: ClassVar[str]
    """How the name of a member ends that every archive of this kind has."""
    weights: ClassVar[WeightsForm]
    """How an archive describes its weights."""

    def read_embedded(self, path: Path) -> Manifest | None:
        """Return the manifest among the archive's extra files; it is read as a zip, never loaded as code.

        Every member's CRC is checked, which torch does not do when it loads one.
        """
        with open_archive(path, self.title) as archive:
            names = archive.namelist()
            if sum(member.file_size for member in archive.infolist()) > max_unpacked(path.stat().st_size):
                raise ArtifactError(f"{path}: claims to unpack to far more than its own size")
            if not any(name.endswith(self.marker) for name in names):
                article = "an" if self.title[0] in "AEIOU" else "a"
                raise ArtifactError(f"{path}: not {article} {self.title}")
            if damaged := archive.testzip():
                raise ArtifactError(f"{path}: damaged: its member {damaged} fails its CRC")
            found = [name for name in names if name.endswith(f"/extra/{MANIFEST_KEY}")]
            if not found:
                return None
            if archive.getinfo(found[0]).file_size > MAX_MANIFEST_BYTES:
                raise ArtifactError(f"{path}: its metadata is too large")
            return Manifest.from_json(archive.read(found[0]), f"{path} (extra file {MANIFEST_KEY})")

    def read_stored(self, path: Path) -> StoredModel:
        """Return the manifest among the archive's extra files and its weights, read without torch."""
        return read_stored_archive(path, self.title, self.weights)
