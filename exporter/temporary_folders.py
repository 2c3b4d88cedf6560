"""Folders for temporary files, removed however the run ends, and errors that do not name what is hidden from users."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from pathlib import Path

from exporter.errors import C3DExportError
from exporter.full_disks import temporary_parent, translate_full_disk
from exporter.isolation.worker import add_stage, remove_stage
from exporter.storage import translate_os_errors
from models.temporary import PREFIX, SCRATCH, scratch_folder, temporary_name


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None) -> Generator[Path]:
    """Yield a folder for temporary files, of this user alone.

    It is removed after the block, by the handler of a signal that ends the process, by the supervisor of one that is
    killed, and after a power failure by the next run that has temporary files there.

    Args:
        parent: where it is made; None for the system's folder of temporary files.

    Raises:
        OutputError: it cannot be made, or the disk that it is on is full.
    """
    parent = temporary_parent() if parent is None else parent
    folder = parent / temporary_name(SCRATCH)
    add_stage(folder, parent)
    try:
        with hide_stages_in_errors(), contextlib.ExitStack() as stack:
            with translate_os_errors(parent):
                stack.enter_context(scratch_folder(folder))
            with translate_full_disk(parent):  # before the folder's files, which fill the disk, are removed
                yield folder
    finally:
        if not folder.exists():  # else the supervisor tries again: it has memory where this process has none left
            remove_stage(folder)


@contextlib.contextmanager
def hide_stages_in_errors() -> Generator[None]:
    """Have an error of this project that is raised in the block not name hidden folders: the user never sees them."""
    try:
        yield
    except C3DExportError as error:
        error.args = tuple(hide_stage(text) if isinstance(text, str) else text for text in error.args)
        raise


def hide_stage(text: str) -> str:
    """Return a message with the paths of files in hidden folders as they are once published."""
    return re.sub(rf"{re.escape(PREFIX)}[^/\\]+[/\\]", "", text)
