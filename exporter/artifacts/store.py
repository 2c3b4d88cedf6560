"""Staging: what a run writes is in a hidden folder inside the output folder until it is published.

`staging` makes that folder and removes it at the end; `exporter.artifacts.publication` moves an artifact's files out of
it, `exporter.storage.publish_file` a single file, `exporter.artifacts.folders` a folder. What a killed run leaves is
finished or removed by the next one that reads or writes in the output folder (`recover`), or by its supervisor.
"""

import contextlib
from collections.abc import Generator, Iterable
from pathlib import Path

from exporter.artifacts.folders import restore_folders
from exporter.artifacts.publication import finish
from exporter.errors import OutputError, UsageError
from exporter.full_disks import translate_full_disk
from exporter.isolation.worker import add_stage, remove_stage
from exporter.storage import translate_os_errors
from exporter.temporary_folders import hide_stages_in_errors
from models.paths import make_folders
from models.temporary import (
    LOCK_TIMEOUT_S,
    PART,
    REPLACED,
    is_abandoned,
    list_temporary,
    lock_folder,
    remove_abandoned_parts,
    remove_tree,
    temporary_name,
)
from models.text import find_name_fault

MAX_NAME_BYTES = 200
"""Bytes of an artifact's name: file systems allow 255, suffixes and staging want some of them."""

_OPEN: dict[Path, tuple[Path, list[Path]]] = {}
"""This process's staging folders, the output folders they are in, and those that were made for them: a process's own,
like its open files."""


def check_name(name: str) -> None:
    """Refuse an artifact name that is not a plain file name.

    Raises:
        UsageError: `find_name_fault` finds why not.
    """
    if fault := find_name_fault(name, MAX_NAME_BYTES):
        raise UsageError(
            f"{name!r} is not a plain file name: {fault}; choose another (folders are chosen by --output-dir or -o)"
        )


@contextlib.contextmanager
def staging(folder: Path) -> Generator[Path]:
    """Create `folder` and yield a hidden folder inside it to write into; it is removed at the end with its content.

    So are the folders that were made for it, where nothing was published into them.

    An error of this project that passes through does not name the hidden folder: the user never sees it.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    with translate_os_errors(folder):
        made = make_folders(folder)
        recover(folder)
    stage = folder / temporary_name()
    _OPEN[stage] = folder, made
    add_stage(stage, folder, made)
    try:
        with translate_os_errors(folder):
            stage.mkdir(parents=True)  # another run that made the same folder, and failed, may have removed it
        # a full disk is recognised before the files that fill it are removed
        with lock_folder(stage), hide_stages_in_errors(), translate_full_disk(folder):
            yield stage
    finally:
        finish_or_discard(stage, folder)
        del _OPEN[stage]
        if not stage.exists():  # else the supervisor tries again: it has memory where this process has none left
            _remove_empty(made)
            remove_stage(stage, made)


def cleanup_staging() -> None:
    """Finish or remove what this process has staged; for a signal handler that ends it."""
    for stage, (folder, made) in list(_OPEN.items())[::-1]:
        finish_or_discard(stage, folder, lock_timeout=0)  # the interrupted code may hold the lock
        _remove_empty(made)


def _remove_empty(folders: Iterable[str | Path]) -> None:
    """Remove folders, an inner one before the one around it, that nothing is in."""
    for folder in map(Path, folders):
        with contextlib.suppress(OSError):
            folder.rmdir()


def recover(folder: Path) -> None:
    """Finish what killed runs had begun to publish into `folder`, and remove what else they had staged there.

    Where the folder cannot be written to, it stays as it is.
    """
    remove_abandoned_parts(folder)
    with contextlib.suppress(OutputError):
        restore_folders(folder)
    for stage in list_temporary(folder):
        if not stage.name.endswith((PART, REPLACED)) and is_abandoned(stage):
            own = folder / temporary_name()
            with contextlib.suppress(OSError):
                stage.replace(own)  # of several runs that find it, one gets it
                finish_or_discard(own, folder)


def finish_or_discard(stage: Path, folder: Path, lock_timeout: float = LOCK_TIMEOUT_S) -> None:
    """Complete what was begun to be published from a staging folder, and remove it.

    It stays for the next run where the set cannot be completed: the disk is full, or read-only by now.
    """
    settled = False
    with contextlib.suppress(OSError), lock_folder(folder, lock_timeout):
        settled = finish(stage, folder)
    if settled:
        remove_tree(stage)


def clean_up(stages: Iterable[tuple[str, str]], new_folders: Iterable[str] = ()) -> None:
    """Finish or remove what a process had staged that could not do it itself, with the folders it made that are empty.

    Args:
        stages: (staging folder, output folder).
        new_folders: those that the process made.
    """
    for stage, folder in stages:
        finish_or_discard(Path(stage), Path(folder))
    _remove_empty(new_folders)
