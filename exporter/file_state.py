"""Which file was hashed: what is opened later must still be that one, with nothing written to it since.

A library that opens a file by its path opens what the path names at that moment. `FileState` remembers device, inode,
size and times of the file whose bytes were hashed; another file under its path, or a write to it, changes them. A write
through memory that was mapped before (mmap) is not recorded by any file system, and not found.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import IntegrityError

CLOCK_TICK_NS = 20_000_000
"""Two changes of a file within one tick of the system's clock (10 ms at most on Linux) may have the same time."""

_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Flags: a pipe that takes the file's place is not waited for, and Windows does not translate line ends."""


@dataclass(frozen=True)
class FileState:
    """A file as it was when it was hashed.

    Attributes:
        path: its path.
        bytes: its size.
        sha256: SHA-256 of its bytes; None where they were not hashed.
        identity: device, inode, and the times of the last write and of the last change of anything, in nanoseconds.
    """

    path: str
    bytes: int
    sha256: str | None
    identity: tuple[int, int, int, int]

    @property
    def changed(self) -> str:
        """What has become of the file since; empty if nothing has."""
        try:
            now = os.stat(self.path)  # noqa: PTH116 - bench's workers import this with the standard library alone
        except OSError as error:
            return f"it is no longer there ({error.strerror})"
        if _identity(now)[:2] != self.identity[:2]:
            return "its path names another file now"
        same = _identity(now) == self.identity and now.st_size == self.bytes
        return "" if same else "it was written to, renamed or linked"


def file_state(path: Path) -> FileState:
    """Return the state of a file without hashing it.

    Raises:
        OSError: it is not there, or no regular file.
    """
    about = path.stat()
    require_regular(about)
    return FileState(str(path), about.st_size, None, _identity(about))


def hashed_file_state(path: Path) -> FileState:
    """Hash a file, through one descriptor, and return which file that was.

    Raises:
        OSError: it is not there, cannot be read, is no regular file (a pipe or device is not waited for), or was
            written to meanwhile.
    """
    require_regular(path.stat())
    with os.fdopen(os.open(path, _READ), "rb", buffering=0) as stream:
        before = os.fstat(stream.fileno())
        require_regular(before)
        # a write right after the hash must have another time than the last one before it
        if 0 <= (age := time.time_ns() - before.st_ctime_ns) < CLOCK_TICK_NS:
            time.sleep((CLOCK_TICK_NS - age) / 1e9)
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        after = os.fstat(stream.fileno())
    if (_identity(after), after.st_size) != (_identity(before), before.st_size):
        raise OSError(errno.EBUSY, "it was written to while it was read")
    return FileState(str(path), after.st_size, sha256, _identity(after))


def require_unchanged(states: Iterable[FileState]) -> None:
    """Refuse a result of files that are not, or no longer, those that were hashed.

    Raises:
        IntegrityError: the message names the file and what has become of it.
    """
    for state in states:
        if changed := state.changed:
            raise IntegrityError(
                f"{state.path} was changed while it was in use: {changed}; the result is discarded, run it again"
            )


def require_regular(about: os.stat_result) -> None:
    """Refuse a folder, pipe, socket or device, of which reading may block or never end.

    Raises:
        OSError: the status is not of a regular file.
    """
    if stat.S_ISDIR(about.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(about.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, not a file")


def _identity(about: os.stat_result) -> tuple[int, int, int, int]:
    return about.st_dev, about.st_ino, about.st_mtime_ns, about.st_ctime_ns
