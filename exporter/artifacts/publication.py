"""Publishing an artifact: its files appear in the output folder together, whatever ends the run or runs beside it.

The staging folder is a redo log. Before the first name in the output folder changes, the disk holds every staged file,
the manifest that lists them with their hashes, and the staging folder's own name. Then each file gets its name by a
hard link that is renamed into place, so that the staging folder keeps all of them until the whole set is in place and
the disk holds it. A run that finds the staging folder of a run that ended in between (`finish`) can therefore complete
the set, whichever renames a power failure has kept. Where the file system has no hard links the files are copied.

Runs that publish under one name at the same time take turns by a lock. Where locks do nothing their renames interleave,
and each run looks, after its last change, whether the folder holds its own set or another complete one. If not, it
publishes again. The run that changes the folder last sees the final state, so no mixture remains.

Data files that the manifest in place does not list, such as those of the replaced artifact, are moved into the staging
folder once the disk holds the new set, and come back if another run's manifest lists them. They are removed with it.

An ONNX model without a manifest, and its data, are published in the same way (`publish_files`). A list of these files
takes the manifest's place in the staging folder, and is not published. As no hash in the folder tells such a set's
files from others, the disk holds the data before the model gets its name; and which data belongs to the model in place,
the model itself states.
"""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from exporter.artifacts.files import (
    MANIFEST_SUFFIX,
    check_integrity,
    file_entry,
    has_manifest,
    manifest_path,
    read_data_names,
    read_manifest,
)
from exporter.artifacts.manifest import Manifest
from exporter.artifacts.manifest_fields import FileEntry
from exporter.errors import ArtifactError, IntegrityError, LimitError, OutputError
from exporter.storage import translate_os_errors
from exporter.trust import CODE_FORMATS, record_written
from models.paths import fsync, is_plain_name
from models.temporary import lock_folder, temporary_name

LIST_SUFFIX = ".c3d-export-files"
"""In a staging folder: after the model's name, the list of the files of a set without a manifest."""
OLD_DATA = "old-data"
"""In a staging folder: the data files of the artifact that was replaced."""
ATTEMPTS = 30
"""How often a run publishes again, where another one without a working lock mixes its files with these."""
MAX_PAUSE_S = 0.5

_Identity = tuple[int, int, int, int]


def publish(stage: Path, folder: Path, manifest: Manifest) -> Path:
    """Publish the staged files that `manifest` lists, and the manifest itself, in `folder`; return the model's path.

    Raises:
        OutputError: the folder cannot be written to, or is full; or another run publishes under the same name all the
            time, on a file system without locks.
    """
    if manifest.format in CODE_FORMATS:
        record_written([manifest.files[0].sha256])
    return _publish(_Publication(stage, folder, manifest.files), manifest.to_json())


def publish_files(stage: Path, folder: Path, entries: Sequence[FileEntry]) -> Path:
    """Publish a staged model, the first entry, and its data in `folder`, without a manifest; return the model's path.

    Raises:
        OutputError: as `publish`.
    """
    publication = _Publication(stage, folder, tuple(entries), has_manifest=False)
    return _publish(publication, msgspec.json.encode(entries).decode())


def _publish(publication: _Publication, listing: str) -> Path:
    stage, folder, model = publication.stage, publication.folder, publication.model
    if publication.listing.name in publication.entries:
        raise OutputError(f"cannot publish {model}: {publication.listing.name}, its data file, has a reserved name")
    with translate_os_errors(folder):
        publication.listing.write_text(listing, encoding="utf-8")
        for name in (*publication.entries, publication.listing.name, "."):
            fsync(stage / name)
        fsync(folder)
        with lock_folder(folder):
            if not publication.complete():
                raise OutputError(
                    f"cannot write to {folder}: other runs publish {model} there at the same time, and the file system "
                    "has no locks; run this one again"
                )
        publication.listing.unlink()  # there is nothing left to complete
    return folder / model


def finish(stage: Path, folder: Path) -> bool:
    """Complete what a run that has ended had begun to publish from `stage`; what it had not begun stays unpublished.

    Returns whether the staging folder is of no more use.

    Raises:
        OSError: the folder cannot be written to.
    """
    settled = True
    for listing in (*stage.glob(f"*{MANIFEST_SUFFIX}"), *stage.glob(f"*{LIST_SUFFIX}")):
        has_manifest = listing.suffix == MANIFEST_SUFFIX
        with contextlib.suppress(ArtifactError, msgspec.DecodeError):
            if has_manifest:
                entries = Manifest.from_json(listing.read_bytes()).files
            else:
                entries = msgspec.json.decode(listing.read_bytes(), type=tuple[FileEntry, ...])
            if _are_listed(listing, entries):
                settled &= _Publication(stage, folder, entries, has_manifest=has_manifest).resume()
    return settled


def _are_listed(listing: Path, entries: Sequence[FileEntry]) -> bool:
    names = [entry.path for entry in entries]
    return all(map(is_plain_name, names)) and listing.stem in names


@dataclass
class _Publication:
    """A model and its data on their way from a staging folder to their own.

    Attributes:
        stage: the staging folder.
        folder: the output folder.
        files: the staged files, the model first.
        has_manifest: whether a manifest that lists them is published with them.
    """

    stage: Path
    folder: Path
    files: tuple[FileEntry, ...]
    has_manifest: bool = True

    def __post_init__(self) -> None:
        self.entries = {entry.path: entry for entry in self.files}
        model, *data = self.entries
        self.model = model
        manifest = manifest_path(self.stage / model)
        self.listing = manifest if self.has_manifest else self.stage / f"{model}{LIST_SUFFIX}"
        self.names = (*data, model, *([manifest.name] if self.has_manifest else []))
        self.identities: dict[str, _Identity] = {}

    def complete(self) -> bool:
        """Put the set in place; return whether the folder then holds it, or another complete one of that name."""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, min(MAX_PAUSE_S, 0.005 * 2**attempt)))  # noqa: S311 - runs must not meet again
            if not attempt or not self.is_in_place():
                self.install()
            if self.is_in_place():
                self.set_aside_unlisted()
                return True
        return False

    def resume(self) -> bool:
        """Put the set in place if its publication had begun, and the folder holds no complete set of that name.

        Returns whether that is done, or there is nothing to do.
        """
        self.bring_back()
        if not self._is_complete():
            return not self._has_begun() or self.complete()
        self.set_aside_unlisted()
        return True

    def install(self) -> None:
        """Give every file its name in the folder, and have the disk hold that."""
        for name in self.names:
            if name == self.model and not self.has_manifest:
                fsync(self.folder)
            self.identities[name] = _install(self.stage / name, self.folder / name)
        fsync(self.folder)

    def is_in_place(self) -> bool:
        """Return whether the folder holds this set, or another complete one."""
        with contextlib.suppress(OSError):
            if all(_identity(self.folder / name) == self.identities.get(name) for name in self.names):
                return True
        return self._is_complete()

    def set_aside_unlisted(self) -> None:
        """Move data files that the manifest in place does not list into the staging folder.

        They are those of the artifact that was replaced, and of runs that ended, or whose set was replaced meanwhile.
        Where locks do nothing another run may replace the set in between, and may have looked already: then again.
        """
        for _ in range(ATTEMPTS):
            listed = self._listed()
            for path in [] if listed is None else find_old_data(self.folder / self.model, keep=listed):
                (self.stage / OLD_DATA).mkdir(exist_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    path.replace(self.stage / OLD_DATA / path.name)
            if not self.bring_back():
                return

    def bring_back(self) -> bool:
        """Move those files back that the set in place lists and that are missing; return whether there were any."""
        aside = self.stage / OLD_DATA
        if not aside.is_dir():
            return False
        listed = self._listed()
        if listed is None and not self.has_manifest:  # a model that cannot be read: it may need any of them
            listed = [path.name for path in aside.iterdir()]
        names = filter(is_plain_name, listed or ())  # a model can state any path
        missing = [name for name in names if (aside / name).is_file() and not (self.folder / name).exists()]
        for name in missing:
            (aside / name).replace(self.folder / name)
        return bool(missing)

    def _listed(self) -> list[str] | None:
        """Return the files of the set in place; None where neither a manifest nor the model states them.

        Then another run is changing the set, and sets aside what is left over at its own end.
        """
        model = self.folder / self.model
        with contextlib.suppress(ArtifactError):
            return [entry.path for entry in read_manifest(manifest_path(model)).files]
        if self.has_manifest:
            return None
        if _holds(model, self.files[0]):
            return list(self.entries)
        with contextlib.suppress(ArtifactError, LimitError):
            return read_data_names(model)
        return None

    def _is_complete(self) -> bool:
        """Return whether a model, its data and its manifest are in place and belong together."""
        model = self.folder / self.model
        if not self.has_manifest and not has_manifest(model):
            return all(_holds(self.folder / name, entry) for name, entry in self.entries.items())
        with contextlib.suppress(ArtifactError, IntegrityError):
            check_integrity(model, read_manifest(manifest_path(model)))
            return True
        return False

    def _has_begun(self) -> bool:
        """Return whether one of the files is in place, and all are staged and whole."""
        if not all(_holds(self.stage / name, entry) for name, entry in self.entries.items()):
            return False
        if self._is_described():
            return True
        return any(_holds(self.folder / name, entry) for name, entry in self.entries.items())

    def _is_described(self) -> bool:
        """Return whether the manifest in place is this one."""
        with contextlib.suppress(OSError):
            return manifest_path(self.folder / self.model).read_bytes() == self.listing.read_bytes()
        return False


def find_old_data(model: Path, keep: Sequence[str] = ()) -> list[Path]:
    """Return the data files of earlier exports of the same model, to which a new one does not refer."""
    named = (path for path in model.parent.iterdir() if is_data_name(path.name, model.name) and path.name not in keep)
    return [path for path in named if not path.is_dir()]  # a folder of that name is the user's


def is_data_name(name: str, model: str) -> bool:
    """Return whether a file has the name that this tool gives to the data of a model of that name."""
    return re.fullmatch(rf"{re.escape(model)}\.[0-9a-f]{{16}}\.data", name) is not None


def _install(source: Path, target: Path) -> _Identity:
    """Give a staged file its name, in place of the file that has it; return its identity.

    The staged file keeps its own name. Where the file system has no hard links it is copied.
    """
    link = source.with_name(temporary_name())
    try:
        link.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, link)
        fsync(link)
    identity = _identity(link)
    link.replace(target)
    link.unlink(missing_ok=True)  # a rename does nothing where both are names of one file
    return identity


def _identity(path: Path) -> _Identity:
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _holds(path: Path, entry: FileEntry) -> bool:
    """Return whether a file is the one that an entry of a manifest describes."""
    with contextlib.suppress(OSError):
        return path.stat().st_size == entry.bytes and file_entry(path) == entry
    return False
