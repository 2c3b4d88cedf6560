"""Publishing a folder in place of another one: a reader finds the old folder or the new one."""

from __future__ import annotations

import errno
from pathlib import Path

from exporter.storage import translate_os_errors
from models.paths import exchange, fsync, fsync_tree
from models.temporary import REPLACED, is_abandoned, list_temporary, lock_folder, remove_tree, temporary_name


def replace_folder(staged: Path, target: Path) -> None:
    """Publish a staged folder as `target`, in place of a folder that is there.

    Linux exchanges two folders in one step, on most file systems. Elsewhere the old one is moved into a hidden folder
    first; a run that is killed before the new one has arrived leaves it there, and `restore_folders` brings it back.

    Raises:
        OutputError: the folder around it cannot be written to, or is full; or another run has put a folder there.
    """
    with translate_os_errors(target.parent), lock_folder(target.parent):
        restore_folders(target.parent)
        fsync_tree(staged)
        if target.exists() and _exchange(staged, target):
            fsync(target.parent)  # the old one is staged now, and is removed with the stage
            return
        aside = target.parent / temporary_name(REPLACED)
        try:
            if target.exists():
                aside.mkdir()
                fsync(target.parent)
                target.replace(aside / target.name)
            staged.replace(target)
            fsync(target.parent)
        except BaseException:
            _restore(aside)
            raise
        remove_tree(aside)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; return whether the system and the file system can do that."""
    try:
        exchange(one, other)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM, errno.EXDEV):
            raise
        return False
    return True


def restore_folders(parent: Path) -> None:
    """Finish replacements that ended in the middle: an old folder comes back, or goes where a new one has arrived.

    Raises:
        OutputError: the folder cannot be written to.
    """
    with translate_os_errors(parent):
        for aside in list_temporary(parent):
            if aside.name.endswith(REPLACED) and is_abandoned(aside):
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
