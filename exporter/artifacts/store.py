"""Atomic publishing: a file appears in its folder complete or not at all, even if the run is killed.

Everything is written into a hidden folder inside the output folder, flushed to disk, and renamed into place: the
model's other files first, then the model, then the manifest. The first rename is the moment the new artifact exists: a
run killed after it leaves the other files and the manifest staged, and `recover` renames them too, if they all have
the hashes that the staged manifest states. A manifest that does not describe the files beside it is rejected
(`exporter.artifacts.files.check_integrity`), so no mixture passes for an artifact.
"""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Generator
from pathlib import Path

import psutil
from filelock import Timeout

from exporter.artifacts.files import MANIFEST_SUFFIX, file_entry, manifest_path
from exporter.artifacts.manifest import Manifest
from exporter.errors import ArtifactError, C3DExportError, UsageError
from exporter.isolation.worker import add_stage, remove_stage
from exporter.storage import translate_os_errors
from models.cache import cache_folder
from models.paths import acquire_lock, fsync, is_plain_name

PREFIX = ".c3d-export-"
REPLACED = ".replaced"
"""Ends the name of a folder while another one takes its place."""
STAGE_LOCK = ".lock"
"""In a staging folder: held by the run that uses it."""
MAX_NAME_BYTES = 200
"""Bytes of an artifact's name: file systems allow 255, suffixes and staging want some of them."""

_OPEN: dict[Path, Path] = {}
"""This process's staging folders and the output folders they are in: a process's own, like its open files."""

ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which a staging folder of another machine is removed."""


def check_name(name: str) -> None:
    """Refuse an artifact name that is not a plain file name.

    Raises:
        UsageError: empty, with a path separator, hidden, `..`, or with control characters.
    """
    if not name or name.startswith((".", "-")) or re.search(r"[/\\\x00-\x1f\x7f]", name) or not _encodable(name):
        raise UsageError(
            f"an artifact's name must be a plain file name without '/', '\\', a leading '.' or '-': {name!r}; "
            "--output-dir chooses the folder"
        )


def _encodable(name: str) -> bool:
    """Return whether a name fits a file system with room for suffixes, and JSON."""
    try:
        return len(name.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:
        return False


def same_file(target: Path, source: Path) -> bool:
    """Return whether two paths are of one file; no, if one of them is not there."""
    try:
        return target.samefile(source)
    except OSError:
        return False


@contextlib.contextmanager
def staging(folder: Path) -> Generator[Path]:
    """Create `folder` and yield a hidden folder inside it to write into; it is removed at the end with its content.

    An error of this project that passes through does not name the hidden folder: the user never sees it.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    with translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        recover(folder)
        stage = folder / f"{PREFIX}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        stage.mkdir()
    _OPEN[stage] = folder
    add_stage(stage, folder)
    try:
        with _locked(stage / STAGE_LOCK):
            yield stage
    except C3DExportError as error:
        error.args = tuple(hide_stage(text) if isinstance(text, str) else text for text in error.args)
        raise
    finally:
        finish_or_discard(stage, folder)
        del _OPEN[stage]
        remove_stage(stage)


def hide_stage(text: str) -> str:
    """Return a message with the paths of staged files as they are once published."""
    return re.sub(rf"{re.escape(PREFIX)}[^/\\]+[/\\]", "", text)


def publish(stage: Path, folder: Path, manifest: Manifest) -> Path:
    """Move the staged files that `manifest` lists, and the manifest itself, into `folder`; return the model's path.

    Raises:
        OutputError: the folder cannot be written to, or is full.
    """
    model, *data = manifest.files
    staged_manifest = manifest_path(stage / model.path)
    with translate_os_errors(folder):
        staged_manifest.write_text(manifest.to_json(), encoding="utf-8")
        for name in (*(entry.path for entry in manifest.files), staged_manifest.name, "."):
            fsync(stage / name)
        with _locked(_folder_lock(folder)):
            for entry in (*data, model):
                (stage / entry.path).replace(folder / entry.path)
            staged_manifest.replace(folder / staged_manifest.name)
            fsync(folder)
            _remove_old_data(folder / model.path, keep={entry.path for entry in data})
    return folder / model.path


def atomic_replace(staged: Path, target: Path) -> None:
    """Flush one staged file, or folder of files, to disk and rename it to `target`, in the folder that the stage is in.

    Raises:
        OutputError: the folder cannot be written to, or is full.
    """
    with translate_os_errors(target.parent):
        for path in (*staged.rglob("*"), staged) if staged.is_dir() else (staged,):
            fsync(path)
        staged.replace(target)
        fsync(target.parent)


def replace_folder(staged: Path, target: Path) -> None:
    """Publish a staged folder as `target`, in place of a folder that is there.

    No file system replaces a folder that is not empty in one step: the old one is renamed first. A run that is killed
    between the two leaves it under that name, and `restore_folder` brings it back.

    Raises:
        OutputError: the folder around it cannot be written to, or is full.
    """
    previous = _previous(target)
    with translate_os_errors(target.parent), _locked(_folder_lock(target)):
        restore_folder(target)
        if target.exists():
            target.replace(previous)
        try:
            atomic_replace(staged, target)
        finally:
            restore_folder(target)


def restore_folder(target: Path) -> None:
    """Finish a replacement that ended in the middle: the old folder comes back, or goes where the new one has arrived.

    Raises:
        OutputError: the folder around it cannot be written to.
    """
    previous = _previous(target)
    with translate_os_errors(target.parent):
        if not previous.is_dir():
            return
        if target.exists():
            shutil.rmtree(previous)
        else:
            previous.replace(target)


def _previous(target: Path) -> Path:
    """Return where a folder is while another one takes its place."""
    return target.with_name(f".{target.name}{REPLACED}")


def cleanup_staging() -> None:
    """Finish or remove the staging folders of this process; for a signal handler that ends it."""
    for stage, folder in list(_OPEN.items()):
        finish_or_discard(stage, folder)


def recover(folder: Path) -> None:
    """Finish what a killed run had almost published into `folder`, and remove other staging folders of killed runs."""
    for stage in folder.glob(f"{PREFIX}*"):
        if stage.is_dir() and _abandoned(stage):
            finish_or_discard(stage, folder)


def finish_or_discard(stage: Path, folder: Path) -> None:
    """Publish what a staged manifest lists, if some of it has already arrived, and remove the staging folder."""
    for staged in stage.glob(f"*{MANIFEST_SUFFIX}"):
        with contextlib.suppress(OSError, ArtifactError):
            manifest = Manifest.from_json(staged.read_bytes())
            if all(is_plain_name(entry.path) for entry in manifest.files) and _has_begun(manifest, stage, folder):
                for entry in manifest.files[::-1]:
                    with contextlib.suppress(FileNotFoundError):
                        (stage / entry.path).replace(folder / entry.path)
                staged.replace(folder / staged.name)
    shutil.rmtree(stage, ignore_errors=True)


def _has_begun(manifest: Manifest, stage: Path, folder: Path) -> bool:
    """Return whether some of a manifest's files have arrived in `folder`, and all of them are whole."""
    arrived = {entry.path for entry in manifest.files if not (stage / entry.path).exists()}
    places = {entry: folder if entry.path in arrived else stage for entry in manifest.files}
    return bool(arrived) and all(file_entry(place / entry.path) == entry for entry, place in places.items())


@contextlib.contextmanager
def _locked(lock: Path) -> Generator[None]:
    """Hold a lock file, where the system has locks: one exporter at a time renames into a folder.

    Some network file systems pretend to lock. What then interleaves is found by the manifest's hashes.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, NotImplementedError):
            lock.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(acquire_lock(lock))
        yield


def _folder_lock(folder: Path) -> Path:
    """Return the lock file of an output folder. It is kept elsewhere: the folder holds artifacts and nothing else."""
    name = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache_folder() / "locks" / f"{name}.lock"


def _in_use(stage: Path) -> bool:
    """Return whether a process holds the lock of a staging folder."""
    lock = stage / STAGE_LOCK
    if not lock.exists():
        return False
    try:
        with acquire_lock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False


def _abandoned(stage: Path) -> bool:
    """Return whether the run that made a staging folder has ended: its lock is free, and its process is gone."""
    if _in_use(stage):
        return False
    host, pid, _ = stage.name.removeprefix(PREFIX).rsplit("-", 2) if stage.name.count("-") >= 4 else ("", "0", "")
    if host != socket.gethostname() or not pid.isdigit():
        with contextlib.suppress(OSError):
            return time.time() - stage.stat().st_mtime > ABANDONED_AFTER
        return False
    try:
        # in a container whose first process does not wait for orphans, a killed one stays as a zombie
        return psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, OverflowError):
        return True
    except psutil.Error:
        return False


def _remove_old_data(model: Path, keep: set[str]) -> None:
    """Remove data files of earlier exports of the same model, which nothing refers to any more."""
    pattern = re.compile(rf"{re.escape(model.name)}\.[0-9a-f]{{16}}\.data")
    for path in model.parent.iterdir():
        if pattern.fullmatch(path.name) and path.name not in keep:
            path.unlink(missing_ok=True)
