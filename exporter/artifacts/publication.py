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

from exporter.artifacts.files import MANIFEST_SUFFIX, check_integrity, file_entry, manifest_path, read_manifest
from exporter.artifacts.manifest import FileEntry, Manifest
from exporter.errors import ArtifactError, IntegrityError, OutputError
from exporter.storage import translate_os_errors
from exporter.trust import CODE_FORMATS, record_written
from models.paths import fsync, is_plain_name
from models.temporary import lock_folder, temporary_name

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
    model = manifest.files[0].path
    staged_manifest = manifest_path(stage / model)
    with translate_os_errors(folder):
        staged_manifest.write_text(manifest.to_json(), encoding="utf-8")
        for name in (*(entry.path for entry in manifest.files), staged_manifest.name, "."):
            fsync(stage / name)
        fsync(folder)
        with lock_folder(folder):
            if not _Publication(stage, folder, manifest).complete():
                raise OutputError(
                    f"cannot write to {folder}: other runs publish {model} there at the same time, and the file system "
                    "has no locks; run this one again"
                )
        staged_manifest.unlink()  # there is nothing left to complete
    return folder / model


def finish(stage: Path, folder: Path) -> bool:
    """Complete what a run that has ended had begun to publish from `stage`; what it had not begun stays unpublished.

    Returns whether the staging folder is of no more use.

    Raises:
        OSError: the folder cannot be written to.
    """
    settled = True
    for staged in stage.glob(f"*{MANIFEST_SUFFIX}"):
        with contextlib.suppress(ArtifactError):
            manifest = Manifest.from_json(staged.read_bytes())
            if _is_listed(staged.name, manifest):
                settled &= _Publication(stage, folder, manifest).resume()
    return settled


def _is_listed(manifest_name: str, manifest: Manifest) -> bool:
    names = [entry.path for entry in manifest.files]
    return all(map(is_plain_name, names)) and manifest_name.removesuffix(MANIFEST_SUFFIX) in names


@dataclass
class _Publication:
    """An artifact on its way from a staging folder to its own.

    Attributes:
        stage: the staging folder.
        folder: the output folder.
        manifest: lists the files.
    """

    stage: Path
    folder: Path
    manifest: Manifest

    def __post_init__(self) -> None:
        self.entries = {entry.path: entry for entry in self.manifest.files}
        model, *data = self.entries
        self.model = model
        self.names = (*data, model, manifest_path(Path(model)).name)
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
        if not _is_complete(self.folder / self.model):
            return not self._has_begun() or self.complete()
        self.set_aside_unlisted()
        return True

    def install(self) -> None:
        """Give every file its name in the folder, and have the disk hold that."""
        for name in self.names:
            self.identities[name] = _install(self.stage / name, self.folder / name)
        fsync(self.folder)

    def is_in_place(self) -> bool:
        """Return whether the folder holds this set, or another complete one."""
        with contextlib.suppress(OSError):
            if all(_identity(self.folder / name) == self.identities.get(name) for name in self.names):
                return True
        return _is_complete(self.folder / self.model)

    def set_aside_unlisted(self) -> None:
        """Move data files that the manifest in place does not list into the staging folder.

        They are those of the artifact that was replaced, and of runs that ended, or whose set was replaced meanwhile.
        """
        with contextlib.suppress(ArtifactError):  # another run is changing the set, and does this at its own end
            listed = [entry.path for entry in read_manifest(manifest_path(self.folder / self.model)).files]
            for path in find_old_data(self.folder / self.model, keep=listed):
                (self.stage / OLD_DATA).mkdir(exist_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    path.replace(self.stage / OLD_DATA / path.name)
            self.bring_back()

    def bring_back(self) -> None:
        """Move those files back that the manifest in place lists and that are missing."""
        aside = self.stage / OLD_DATA
        if aside.is_dir():
            with contextlib.suppress(ArtifactError):
                for entry in read_manifest(manifest_path(self.folder / self.model)).files:
                    if (aside / entry.path).is_file() and not (self.folder / entry.path).exists():
                        (aside / entry.path).replace(self.folder / entry.path)

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
            return (self.folder / self.names[-1]).read_bytes() == (self.stage / self.names[-1]).read_bytes()
        return False


def find_old_data(model: Path, keep: Sequence[str] = ()) -> list[Path]:
    """Return the data files of earlier exports of the same model, to which a new one does not refer."""
    pattern = re.compile(rf"{re.escape(model.name)}\.[0-9a-f]{{16}}\.data")
    return [path for path in model.parent.iterdir() if pattern.fullmatch(path.name) and path.name not in keep]


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


def _is_complete(model: Path) -> bool:
    """Return whether a model, its data and its manifest are in place and belong together."""
    with contextlib.suppress(ArtifactError, IntegrityError):
        check_integrity(model, read_manifest(manifest_path(model)))
        return True
    return False
