"""The outputs of a command, checked before its work: a long run must not end with a file that cannot be written.

The checks try what publishing does: they make a hidden file in the folder and remove it. So a read-only folder or file
system, a full disk, and a folder that takes no files (`/proc`) are known at once, also for root, whom no permission
stops.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

from exporter.errors import OutputError, UsageError
from exporter.full_disks import NO_SPACE, Disk, find_disk, temporary_parent
from exporter.isolation.streams import standard_stream
from exporter.storage import Location, check_url, local_path, write_bytes
from models.paths import atomic_write, same_file
from models.temporary import temporary_file
from models.text import format_bytes

MAX_LINKS = 40
"""Symbolic links that are followed, as many as Linux does."""


def check_output_file(location: Location, option: str, inputs: Iterable[Location] = ()) -> None:
    """Check early that a file can be written.

    Args:
        location: the file, a path or a URL; of a URL only that its protocol is there and the server responds.
        option: the option that names it, for the message.
        inputs: what the command reads: none of it is overwritten.

    Raises:
        OutputError: there is no such folder, or file or folder do not allow writing.
        UsageError: it is one of the inputs.
        UnavailableError: the library of the URL's protocol is not installed.
    """
    path = local_path(location)
    if path is None:
        check_url(location)
        return
    with _translate(f"{option} {path}: cannot be written"):
        if _is_stream(path):
            return
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if not path.parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"there is no folder {path.parent}")
        for source in inputs:
            if (other := local_path(source)) is not None and same_file(path, other):
                raise UsageError(f"{option} {path}: is what the command reads; choose another file")
        _check_permission(path)
        _try_to_write(path.parent)


def check_distinct(files: Mapping[str, Location | None]) -> None:
    """Refuse that two options name one file.

    Args:
        files: {option: its file}.

    Raises:
        UsageError: the second would overwrite the first.
    """
    seen: dict[object, str] = {}
    for option, location in files.items():
        if location is None:
            continue
        path = local_path(location)
        if path is None:
            key: object = str(location)
        elif _is_stream(path):
            continue
        else:
            key = path.parent.resolve() / path.name
        if key in seen:
            raise UsageError(f"{option} {location}: is the file of {seen[key]} as well; choose another one")
        seen[key] = option


def check_output_folder(location: Location, option: str = "", names: Iterable[str] = ()) -> None:
    """Check early that a folder can be written to, or can be made where it is missing. It is not made.

    Args:
        location: the folder, a path or a URL; of a URL only that its protocol is there and the server responds.
        option: the option that names it, for the message.
        names: files that will be written there.

    Raises:
        OutputError: it is a file or a link that leads nowhere, or allows no writing; or a folder has a file's name.
        UnavailableError: the library of the URL's protocol is not installed.
    """
    path = local_path(location)
    if path is None:
        check_url(location)
        return
    with _translate(f"{option} {path}: cannot be written to".lstrip()):
        _try_to_write(_nearest_folder(path))
        for name in names:
            if (path / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{name} is a folder there")
            _check_permission(path / name)


def new_folder_notes(location: Location) -> tuple[str, ...]:
    """Return a note that a folder will be made, with its parents.

    There is none for a folder that is there or that cannot be made, and for a URL.

    Args:
        location: the folder, before anything is written to it.
    """
    path = local_path(location)
    try:
        if path is None or path.exists():
            return ()
        return (f"{path} is a new folder" + f", in {_nearest_folder(path)}" * (not path.parent.exists()),)
    except (OSError, ValueError):  # it cannot be made, which `check_output_folder` says
        return ()


def check_space(folder: Path, size: int, what: str, option: str = "", *, temporary: int = 0) -> None:
    """Check that what will be written fits on the disk, and so do the temporary files that are needed meanwhile.

    Args:
        folder: where it will be; it may be missing yet.
        size: the bytes that are needed at least.
        what: what needs them, for the message.
        option: the option that names the folder, for the message.
        temporary: the bytes of temporary files, in the folder that $TMPDIR names; they may be on the same disk.

    Raises:
        OutputError: there is too little space.
    """
    disk, scratch = find_disk(folder), find_disk(temporary_parent()) if temporary else None
    if disk is not None and scratch is not None and disk.device == scratch.device:
        size, scratch, what = size + temporary, None, f"{what} with its temporary files (TMPDIR={temporary_parent()})"
    _require_free(disk, size, f"{option} {folder}".lstrip(), what)
    _require_free(scratch, temporary, f"TMPDIR={temporary_parent()}", f"{what} (its temporary files)")


def _require_free(disk: Disk | None, size: int, where: str, what: str) -> None:
    if disk is not None and disk.free < size:
        raise OutputError(
            f"{where}: cannot be written to: {what} needs at least {format_bytes(size)}, and "
            f"{format_bytes(disk.free)} are free there ({NO_SPACE})"
        )


def write_file(location: Location, content: bytes, option: str) -> None:
    """Write a file completely or not at all; what goes to a pipe, a device or /dev/stdout is written there directly.

    Raises:
        OutputError: the operating system, or the server of a URL, does not allow it.
    """
    path = local_path(location)
    if path is None:
        write_bytes(location, content)
        return
    with _translate(f"{option} {path}: cannot be written"):
        if (number := _descriptor(path)) is not None:
            _write_descriptor(number, content)
        elif _is_stream(path):
            path.write_bytes(content)
        else:
            atomic_write(path, content)


@contextmanager
def _translate(what: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{what}: {error.strerror or error}") from error
    except ValueError as error:  # a zero byte in the name
        raise OutputError(f"{what}: {error}") from error


def _nearest_folder(path: Path) -> Path:
    """Return a folder, or the nearest one around it that is there.

    Raises:
        OSError: something in the way is no folder.
        ValueError: there is a zero byte in the name.
    """
    if "\0" in str(path):
        raise ValueError("embedded null byte")
    for folder in (path, *path.absolute().parents):
        if folder.is_dir():
            return folder
        if os.path.lexists(folder):
            reason = "it is a file, not a folder" if folder.exists() else "it is a link that leads nowhere"
            where = "" if folder == path else f"{folder}: "
            raise NotADirectoryError(errno.ENOTDIR, f"{where}{reason}")
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _check_permission(path: Path) -> None:
    """Check what renaming onto a file needs besides a folder that can be written to.

    Raises:
        OSError: the file is write-protected, or another user's in a folder like /tmp; or its name is too long.
    """
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    around = path.parent.stat()
    own = os.geteuid() if hasattr(os, "geteuid") else 0
    if around.st_mode & stat.S_ISVTX and own not in (0, found.st_uid, around.st_uid):
        raise PermissionError(errno.EPERM, "it belongs to another user")
    if not stat.S_ISLNK(found.st_mode) and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "no permission")


def _try_to_write(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        if hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, "the file system is read-only")
        raise PermissionError(errno.EACCES, "no permission")
    with temporary_file(folder) as part:
        try:
            part.touch(exist_ok=False)
        except FileNotFoundError:
            raise OSError(errno.EINVAL, f"no file can be created in {folder}") from None


def _is_stream(path: Path) -> bool:
    """Return whether a path is of something that is written to as it is: a pipe, a device, an open descriptor."""
    return _descriptor(path) is not None or (path.exists() and not path.is_file() and not path.is_dir())


def _descriptor(path: Path) -> int | None:
    """Return the number of the open descriptor that a path such as /dev/stdout or /dev/fd/3 stands for, else None.

    Such a path seems to be the file that is open there. Renaming onto it would replace the system's own link.
    """
    for _ in range(MAX_LINKS):
        try:
            path = path.parent.resolve() / path.name
            if re.fullmatch(rf"/proc/(?:self|{os.getpid()})/fd", str(path.parent)) and path.name.isdecimal():
                return int(path.name)
            path = path.parent / path.readlink()
        except (OSError, ValueError, RuntimeError):  # no link, or a loop
            return None
    return None


def _write_descriptor(number: int, content: bytes) -> None:
    if (stream := standard_stream(Path(f"/dev/fd/{number}"))) is not None:
        stream.flush()
        stream.buffer.write(content)
        stream.flush()
        return
    with open(os.dup(number), "wb") as copy:  # noqa: PTH123 - a descriptor has no path
        copy.write(content)
