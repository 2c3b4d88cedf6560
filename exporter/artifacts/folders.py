"""Publishing a folder in place of another one: a reader finds the old folder or the new one."""

from __future__ import annotations

import errno
from pathlib import Path

from exporter.storage import translate_os_errors
from models.paths import fsync, replace_durably
from models.temporary import PREFIX, REPLACED, is_abandoned, lock_folder, remove_tree, temporary_name


def replace_folder(staged: Path, target: Path) -> None:
    """Publish a staged folder as `target`, in place of a folder that is there.

    No file system replaces a folder that is not empty in one step: the old one is moved into a hidden folder first. A
    run that is killed between the two leaves it there, and `restore_folders` brings it back.

    Raises:
        OutputError: the folder around it cannot be written to, or is full; or another run has put a folder there.
    """
    parent = target.parent
    aside = parent / temporary_name(REPLACED)
    with translate_os_errors(parent), lock_folder(parent):
        restore_folders(parent)
        try:
            if target.exists():
                aside.mkdir()
                fsync(parent)
                target.replace(aside / target.name)
            replace_durably(staged, target)
        finally:
            _restore(aside)


def restore_folders(parent: Path) -> None:
    """Finish replacements that ended in the middle: an old folder comes back, or goes where a new one has arrived.

    Raises:
        OutputError: the folder cannot be written to.
    """
    with translate_os_errors(parent):
        for aside in parent.glob(f"{PREFIX}*{REPLACED}"):
            if is_abandoned(aside):
                _restore(aside)


def _restore(aside: Path) -> None:
    if not aside.is_dir():
        return
    for old in aside.iterdir():
        try:
            if not (target := aside.parent / old.name).exists():
                old.replace(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another run has put a folder there: it stays
                raise
    fsync(aside.parent)
    remove_tree(aside)
