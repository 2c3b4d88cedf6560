"""Files: checking a path that a user gave, writing one completely or not at all, and the path of an open one."""

import contextlib
import errno
import os
import shlex
import stat
import warnings
from collections.abc import Generator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, BinaryIO

from models.errors import BadInputError
from models.temporary import temporary_file

DESCRIPTORS = Path("/proc/self/fd")
"""Linux's folder of this process's open files."""
AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""Of `linux/fcntl.h` and `linux/fs.h`."""
DISTRIBUTED_INDEX = ".metadata"
"""The file that every folder of torch.distributed.checkpoint has."""
FOLDERS = {
    "zero_to_fp32.py": (
        "DeepSpeed",
        "`python -m deepspeed.utils.zero_to_fp32 {} OUT` makes one of its parts: give OUT",
    ),
    "_CHECKPOINT_METADATA": ("Orbax", "restore it where Orbax is installed, and save the arrays by numpy.savez"),
}
"""{file: whose folder of a checkpoint has it, and what to do, with {} for the folder}."""
READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Flags: a pipe that takes a file's place is not waited for, and Windows does not translate line ends."""


def require_file(path: Path, what: str, error: type[BadInputError]) -> int:
    """Return the size in bytes of the file at `path`.

    Args:
        path: as the user gave it.
        what: what it should be, for the message: `checkpoint`, `artifact`.
        error: the class to raise.

    Raises:
        BadInputError: of the class given: the path does not exist, is not a file, or cannot be accessed.
    """
    try:
        if not path.exists():
            raise error(f"no such {what}: {path}")
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) or (not about.st_size and _is_generated(path)):
            inside = describe_folder(path) if stat.S_ISDIR(about.st_mode) else ""
            raise error(f"not a file: {path}; give the {what} itself{inside}")
        return about.st_size
    except OSError as refusal:
        raise error(f"cannot access {path}: {refusal.strerror or refusal}") from refusal


def describe_folder(path: Path) -> str:
    """Return what to give in place of a folder, for an error: its largest file, or how to make a file of it."""
    try:
        return _describe_folder(path)
    except OSError:  # a link to itself, or a folder that may not be read
        return ""


def _describe_folder(path: Path) -> str:
    if (path / DISTRIBUTED_INDEX).is_file():
        command = shlex.join(["python", "-m", "torch.distributed.checkpoint.format_utils", "dcp_to_torch", str(path)])
        return f"; the folder is a checkpoint of torch.distributed.checkpoint: `{command} c3d.pth` makes a file of it"
    for name, (framework, how) in FOLDERS.items():
        if (path / name).is_file():
            return f"; the folder is a checkpoint of {framework}: {how.format(shlex.quote(str(path)))}"
    files = [(entry.stat().st_size, entry.name) for entry in os.scandir(path) if entry.is_file()]
    return f", such as {path / max(files)[1]}" if files else ""


def _is_generated(path: Path) -> bool:
    """Return whether the system makes a file's content when it is read (/proc, /sys): some never end, or wait."""
    return hasattr(os, "statvfs") and os.statvfs(path).f_blocks == 0


def read_small_file(path: Path, what: str, limit: int, error: type[BadInputError]) -> bytes:
    """Return the content of a file that a person writes or this tool did, such as a list of names or a profile.

    Args:
        path: as the user gave it.
        what: what it should be, for the message.
        limit: bytes that it may have.
        error: the class to raise.

    Raises:
        BadInputError: of the class given: not a file (a pipe or a device is never waited for), larger, or unreadable.
    """
    require_file(path, what, error)
    try:
        with os.fdopen(os.open(path, READ), "rb") as stream:  # what the path names now, which may be something else
            about = os.fstat(stream.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise error(f"not a file: {path}; give the {what} itself")
            # it may grow meanwhile
            content = b"" if about.st_size > limit else stream.read(limit + 1) or b""
    except OSError as refusal:
        raise error(f"cannot read {path}: {refusal.strerror or refusal}") from refusal
    if (size := max(about.st_size, len(content))) > limit:
        raise error(f"{path}: {size:,} bytes: too large for a {what} (at most {limit:,})")
    return content


def same_file(one: Path, other: Path) -> bool:
    """Return whether two paths are of one file; no, if one of them is not there."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def to_utf8(text: str) -> str:
    r"""Return a path with the bytes that are not UTF-8 as `\xff`, for JSON and tables, which cannot hold them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_plain_name(name: str) -> bool:
    """Return whether a name that a file states stays in that file's own folder."""
    return Path(name).name == name and name not in ("", ".", "..") and "\0" not in name


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file completely or not at all; see `atomic_open`."""
    with atomic_open(path) as stream:
        stream.write(content)


@contextlib.contextmanager
def atomic_open(path: Path) -> Generator[BinaryIO]:
    """Open a file for writing that appears under its name when the block ends; after an error it does not.

    The disk holds its content before the name refers to it, so that a power failure leaves the earlier file or this
    one. A symbolic link under that name is replaced, and what it led to stays as it is.

    Raises:
        OSError: the system does not allow it; an earlier file is then unchanged.
    """
    with temporary_file(path.parent) as part:
        with part.open("xb") as stream:
            yield stream
            stream.flush()
            _fsync_open(stream.fileno())
        part.replace(path)
        fsync(path.parent)


def replace_durably(staged: Path, target: Path) -> None:
    """Rename a file, or a folder of files, to `target`, once the disk holds it.

    Raises:
        OSError: the system does not allow it; an earlier file is then unchanged.
    """
    fsync_tree(staged)
    staged.replace(target)
    fsync(target.parent)


def fsync_tree(path: Path) -> None:
    """Have the disk hold a file, or a folder with everything below it."""
    for below in path.rglob("*") if path.is_dir() else ():
        fsync(below)
    fsync(path)


def exchange(one: Path, other: Path) -> None:
    """Exchange what two names of one file system mean, in one step (`renameat2` of Linux with RENAME_EXCHANGE).

    Raises:
        OSError: the system does not allow it; ENOSYS where it cannot do that.
    """
    import ctypes

    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))


def make_folders(folder: Path) -> list[Path]:
    """Make a folder and those around it, where they are missing, such that a power failure does not undo it.

    Returns:
        those that were missing, the innermost first.

    Raises:
        OSError: the system does not allow it.
    """
    missing: list[Path] = []
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    for path in missing[::-1]:
        path.mkdir(exist_ok=True)
        fsync(path.parent)
    if missing:
        folder = missing[0]
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    return missing


def fsync(path: Path) -> None:
    """Have the disk hold a file's or folder's content before anything refers to it."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    # Windows flushes only what is open for writing
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        _fsync_open(descriptor)
    finally:
        os.close(descriptor)


def _fsync_open(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system, or a kind of file, without
            raise


def acquire_lock(path: Path, timeout: float = -1) -> AbstractContextManager[object]:
    """Return the lock file at `path`, held until it is closed as a context manager.

    On a file system without flock (some network file systems), filelock marks the lock by the file's existence and
    recognises the mark of a process that has ended.

    Args:
        path: the lock file; it is created.
        timeout: seconds to wait; -1 waits for ever.

    Raises:
        filelock.Timeout: another process holds it.
        OSError: the file cannot be created or locked.
    """
    from filelock import FileLock  # engines' adapters import this module where there is no filelock

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there is no flock is no concern of the user
        return FileLock(path, timeout=timeout).acquire()


def descriptor_path(stream: IO[bytes]) -> Path | None:
    """Return a path under which a library opens this very open file, even if its own path now names another file.

    None where the system has no such paths (macOS, Windows, a container without /proc).
    """
    path = DESCRIPTORS / str(stream.fileno())
    return path if path.exists() else None


def memory_file() -> BinaryIO | None:
    """Return a file in memory, which a library can open by its `descriptor_path`; None where the system has none.

    A limit on file sizes (`ulimit -f`) would count here too: there is none either where one is set. `seal` makes it
    read-only.
    """
    if not hasattr(os, "memfd_create"):
        return None
    import resource

    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        return None
    return os.fdopen(os.memfd_create("c3d-export", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "w+b")


def seal(stream: IO[bytes]) -> None:
    """Have the system refuse every later change of a file made by `memory_file`."""
    import fcntl

    stream.flush()
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(stream.fileno(), fcntl.F_ADD_SEALS, seals)
