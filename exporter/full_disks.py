"""Recognises that a disk is full, in whatever the libraries raise, and raises one class of error that names the folder.

Python raises an OSError with a number. Libraries keep only its text, or less: onnxruntime's serialiser, the streams of
OpenVINO and torch say that they failed. So the whole chain of causes is looked at, and where it says nothing, the space
that is left, before the incomplete files are removed: in `temporary_folder` here, and in `exporter.artifacts.store`.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from exporter.errors import C3DExportError, OutputError
from exporter.memory_errors import causes, is_out_of_memory
from models.temporary import PREFIX
from models.text import format_bytes, shorten

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a disk, or a user's part of it, that is full."""
NO_SPACE = "No space left on device"
MIN_FREE, MIN_FREE_FRACTION = 1 << 20, 1 / 16
"""Bytes, and the fraction of a small disk; one with less free space is full: what could not be written has filled the
rest."""
MAX_REASON = 120
"""Characters of a library's own text."""
TEXTS = re.compile(r"no space left on device|disk quota exceeded|not enough space on the disk", re.IGNORECASE)
DEFECTS = (AssertionError, AttributeError, ImportError, LookupError, NameError, SyntaxError, TypeError)
"""What code raises that is wrong, full disk or not."""


def temporary_parent() -> Path:
    """Return the folder of temporary files, or where none can be written to, the one that would be it."""
    try:
        return Path(gettempdir())
    except FileNotFoundError:
        return Path(next(filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))), "/tmp"))  # noqa: S108


def is_full(folder: Path) -> bool:
    """Return whether a folder's disk has less free space than `MIN_FREE`; False where it cannot be known."""
    disk = find_disk(folder)
    return disk is not None and disk.free < min(MIN_FREE, MIN_FREE_FRACTION * disk.total)


@dataclass(frozen=True)
class Disk:
    """A disk: the system's number of it, its free bytes, and all of them."""

    device: int
    free: int
    total: int


def find_disk(folder: Path) -> Disk | None:
    """Return the disk that a folder is on, or will be on; None where the system does not say."""
    for each in (folder, *folder.absolute().parents):
        try:
            usage = shutil.disk_usage(each)
            return Disk(each.stat().st_dev, usage.free, usage.total)
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            break
    return None


def describe_full(folder: Path) -> str:
    """Return the line about a full disk: the folder, its free space, and for temporary files how to choose another.

    A folder that a run hides in another one is not named.
    """
    folder = next((each.parent for each in (folder, *folder.parents) if each.name.startswith(PREFIX)), folder)
    shown = ""
    if (disk := find_disk(folder)) is not None:
        free = f"{format_bytes(disk.free)} free of " if is_full(folder) else ""  # what filled it may be removed by now
        shown = f" ({free}{format_bytes(disk.total)} in all)"
    if folder == temporary_parent():
        return f"cannot write temporary files to {folder}: {NO_SPACE}{shown}; TMPDIR=FOLDER names another folder"
    return f"cannot write to {folder}: {NO_SPACE}{shown}"


def full_disk_error(error: BaseException, folder: Path) -> OutputError | None:
    """Return an OutputError for an error whose cause is that a disk is full; None for any other one, and for its own.

    Args:
        error: whatever was raised.
        folder: what was written to. If its disk has space and that of temporary files has none, these are named.
    """
    if isinstance(error, OutputError) or is_out_of_memory(error):
        return None
    temporary = temporary_parent()
    place = next((each for each in (folder, temporary) if is_full(each)), None)
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.errno in DISK_FULL:
            return OutputError(describe_full(place or folder))
        if isinstance(cause, FileNotFoundError) and cause.filename is None and is_full(temporary):
            return OutputError(describe_full(temporary))  # `gettempdir` found no folder that it could write to
        if not isinstance(cause, C3DExportError) and TEXTS.search(str(cause)):
            return OutputError(describe_full(place or folder))
    says_why = isinstance(error, (C3DExportError, *DEFECTS)) or (isinstance(error, OSError) and error.errno is not None)
    if place is None or says_why:
        return None
    reason = shorten(" ".join(str(error).split()), MAX_REASON)
    return OutputError(f"{describe_full(place)} ({type(error).__name__}: {reason})")


@contextmanager
def translate_full_disk(folder: Path) -> Generator[None]:
    """Raise an OutputError instead of any error in the block whose cause is that the disk of `folder` is full."""
    try:
        yield
    except Exception as error:
        if (full := full_disk_error(error, folder)) is None:
            raise
        raise full from error
