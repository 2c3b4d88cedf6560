"""Temporary files and folders beside what a run writes: their names, and whether the run that made one has ended.

    .c3d-export-<host>-<boot>.<namespace>-<process>.<start>-<random>

The name says who made it: the machine, the machine's start (Linux's boot id), the namespace of process numbers (a
container has its own), the process and the process's start. A number that another process has now, a process that only
waits to be collected, and a run before the last power failure are thus known for what they are. Nothing of it depends
on a lock; a folder that is locked is in use whatever its name says.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Generator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PREFIX = ".c3d-export-"
PART = ".part"
"""Ends the name of a file that is being written."""
SCRATCH = ".scratch"
"""Ends the name of a folder for temporary files, of which nothing is to be published."""
REPLACED = ".replaced"
"""Ends the name of a folder that holds another one while that is replaced."""
ABANDONED_AFTER_S = 24 * 3600.0
"""Age from which something counts as abandoned whose process cannot be looked up: another machine's."""
LOCK_TIMEOUT_S = 60.0
"""How long a lock is waited for. Who holds one renames files, which takes less; a stopped process may hold it for
ever."""
LOCK_POLL_S = 0.02

_NAME = re.compile(
    re.escape(PREFIX) + r"(?P<host>.+)-(?P<boot>\w+)\.(?P<namespace>\w+)-(?P<pid>\d{1,9})\.(?P<start>\w+)-\w+(\.\w+)?"
)
_OPEN_PARTS: set[Path] = set()
"""This process's files that are being written, and its folders for temporary files."""


@dataclass(frozen=True)
class Owner:
    """The process that made something temporary, as its name says."""

    host: str
    boot: str
    namespace: str
    pid: int
    start: str


def temporary_name(suffix: str = "") -> str:
    """Return a new hidden name that says which process made it."""
    own = current_owner()
    return f"{PREFIX}{own.host}-{own.boot}.{own.namespace}-{own.pid}.{own.start}-{secrets.token_hex(4)}{suffix}"


def current_owner() -> Owner:
    """Return this process as names state it."""
    pid = os.getpid()
    return Owner(_host(), _boot(), _namespace(pid), pid, _start(pid) or "0")


def read_owner(name: str) -> Owner | None:
    """Return what the name of something temporary says; None where this tool did not make it."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return Owner(found["host"], found["boot"], found["namespace"], int(found["pid"]), found["start"])


def is_abandoned(path: Path) -> bool:
    """Return whether the run that made a temporary file or folder has ended.

    No, where it is another user's: in a folder like /tmp anybody can make one, and nothing of it is to be published.
    """
    if not _is_own(path) or _is_locked(path):
        return False
    owner, own = read_owner(path.name), current_owner()
    if owner is not None and owner.host == own.host:
        if owner.boot != own.boot:
            return True  # the machine was started again since
        if owner.namespace == own.namespace:
            return not _is_running(owner)
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime > ABANDONED_AFTER_S
    return False


@contextlib.contextmanager
def temporary_file(folder: Path) -> Generator[Path]:
    """Yield a new name in a folder for a file that is renamed in the block; what is left under it is removed.

    Files of runs that were killed while they wrote into this folder are removed first.
    """
    remove_abandoned_parts(folder)
    part = folder / temporary_name(PART)
    _OPEN_PARTS.add(part)
    try:
        yield part
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        _OPEN_PARTS.discard(part)


@contextlib.contextmanager
def scratch_folder(folder: Path) -> Generator[None]:
    """Make a folder, called by `temporary_name(SCRATCH)`, for the block: this user's alone.

    What runs that were killed left beside it is removed first.

    Raises:
        OSError: it cannot be made.
    """
    remove_abandoned_parts(folder.parent)
    _OPEN_PARTS.add(folder)
    try:
        folder.mkdir(mode=0o700)
        with lock_folder(folder):
            yield
    finally:
        remove_tree(folder)
        _OPEN_PARTS.discard(folder)


def remove_abandoned_parts(folder: Path) -> None:
    """Remove the incomplete and temporary files of ended runs from a folder, as far as the system allows it."""
    for path in list_temporary(folder):
        if path.name.endswith((PART, SCRATCH)) and is_abandoned(path):
            _remove(path)


def list_temporary(folder: Path) -> list[Path]:
    """Return what has a temporary name in a folder; nothing where it cannot be listed."""
    try:
        return [path for path in folder.iterdir() if path.name.startswith(PREFIX)]
    except OSError:
        return []


def remove_own_parts() -> None:
    """Remove this process's incomplete and temporary files; for a signal handler that ends it."""
    for part in list(_OPEN_PARTS):
        _remove(part)


def _remove(part: Path) -> None:
    if part.name.endswith(SCRATCH):
        remove_tree(part)
        return
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def lock_folder(folder: Path, timeout: float = LOCK_TIMEOUT_S) -> Generator[bool]:
    """Lock a folder for the block, by `flock` on the folder itself: no file is needed that would stay.

    Yields whether it is locked. Windows, and some network file systems, have no such locks, and others only pretend to
    have them, so nothing may be damaged without.
    """
    descriptor = _open_folder(folder)
    try:
        yield descriptor is not None and _wait_for_lock(descriptor, timeout)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open_folder(folder: Path) -> int | None:
    if os.name == "nt":
        return None
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None


def _wait_for_lock(descriptor: int, timeout: float) -> bool:
    import fcntl

    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOCK_POLL_S)
        except OSError:
            return False
        else:
            return True


def _is_own(path: Path) -> bool:
    """Return whether something is this user's, or of the user whose folder it is in: NFS may give root's files away."""
    if os.name == "nt":
        return True
    try:
        found = path.lstat()
        return not stat.S_ISLNK(found.st_mode) and found.st_uid in (os.geteuid(), path.parent.stat().st_uid)
    except OSError:
        return False


def _is_locked(folder: Path) -> bool:
    """Return whether a process, this one included, holds the lock of a folder."""
    descriptor = _open_folder(folder)
    if descriptor is None:
        return False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def remove_tree(folder: Path) -> None:
    """Remove a folder with its content, as far as the system allows it."""
    shutil.rmtree(folder, ignore_errors=True)


@cache
def _host() -> str:
    import socket  # not for commands that write nothing

    return re.sub(r"[/\\\x00-\x20\x7f-\uffff]", "_", socket.gethostname())[:64] or "_"


@cache
def _boot() -> str:
    """Return what is another one after each start of the machine; `0` where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    except OSError:
        return "0"


@cache
def _namespace(pid: int) -> str:
    """Return the number of the namespace in which process `pid`, this one, has its number; `0` without namespaces."""
    try:
        return f"{Path(f'/proc/{pid}/ns/pid').stat().st_ino:x}"
    except OSError:
        return "0"


def _is_running(owner: Owner) -> bool:
    start = _start(owner.pid)
    return start is not None and start in (owner.start, "")


def _start(pid: int) -> str | None:
    """Return when a process was started, in the system's own count, and "" where that is hidden; None if it has ended.

    A process that has ended and only waits for its parent has ended.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return _start_elsewhere(pid)
    return None if state in (b"Z", b"X") else fields[18].decode("ascii")  # field 22 of proc(5), starttime


def _start_elsewhere(pid: int) -> str | None:
    """Return the same where there is no /proc, or it hides the processes of other users."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(int(process.create_time()))
    except (psutil.NoSuchProcess, OverflowError):
        return "" if Path("/proc/self").exists() and _may_exist(pid) else None
    except psutil.Error:
        return ""


def _may_exist(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
