"""Inputs and outputs: local paths and URLs alike, so that a bucket works as a folder does.

A location is text: `clips/a.mp4`, `/data/clips`, `file:///data/clips`, `https://host/a.mp4`, `s3://bucket/clips`, or
any other URL that fsspec knows. What has no `://` is a path, and needs no fsspec. Errors of both are one line, with the
same classes.
"""

from __future__ import annotations

import contextlib
import errno
import glob as local_glob
import shutil
from collections.abc import Callable, Generator
from pathlib import Path, PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast
from urllib.parse import unquote, urlsplit

from exporter.errors import BadInputError, OutputError
from exporter.full_disks import full_disk_error, temporary_parent
from models.http.addresses import redact
from models.paths import atomic_open, make_folders, replace_durably, require_file

Location = str | Path
"""A path or a URL."""


def local_path(location: Location) -> Path | None:
    """Return the path of a location on this machine; None for another one's, which has a URL."""
    if isinstance(location, Path) or "://" not in location:
        return Path(location)
    return Path(unquote(urlsplit(location).path)) if location.startswith(("file://", "local://")) else None


def is_url(location: Location) -> bool:
    """Return whether a location is reached through fsspec."""
    return local_path(location) is None


def display(location: Location) -> str:
    """Return a location for messages and records: a URL without user, password and query, which may be secrets."""
    return redact(str(location)) if is_url(location) else str(location)


def join(folder: Location, *names: str) -> str:
    """Return the location of a file below a folder.

    Args:
        folder: a path or a URL, with or without a slash at the end.
        names: relative names with `/` between folders.
    """
    if (path := local_path(folder)) is not None:
        return str(path.joinpath(*names))
    return "/".join((str(folder).rstrip("/"), *(name.strip("/") for name in names)))


def file_name(location: Location) -> str:
    """Return the last part of a location: `a.mp4` of `https://host/clips/a.mp4?token=…`."""
    path = local_path(location)
    return path.name if path is not None else PurePosixPath(unquote(urlsplit(str(location)).path)).name


def open_input(location: Location, what: str = "file", error: type[BadInputError] = BadInputError) -> BinaryIO:
    """Open a file as a seekable stream. From a URL only the parts that are read are fetched, if its protocol allows it.

    Reading further may raise the same errors.

    Args:
        location: a path or a URL.
        what: what it should be, for the message: `video`.
        error: the class to raise.

    Raises:
        BadInputError: of the class given; there is no such file, or it cannot be read.
        UnavailableError: the library of the URL's protocol is not installed.
    """
    path = local_path(location)
    if path is None:
        from exporter.remote.files import open_remote

        return open_remote(str(location), error)
    require_file(path, what, error)
    try:
        return path.open("rb")
    except OSError as refusal:
        raise error(f"cannot read {path}: {refusal.strerror or refusal}") from refusal


def read_bytes(location: Location, error: type[BadInputError] = BadInputError) -> bytes:
    """Return the content of a file; raises as `open_input` does."""
    with open_input(location, error=error) as stream:
        return stream.read()


@contextlib.contextmanager
def _translate_listing(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise BadInputError(f"cannot access {path}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL character
        raise BadInputError(f"cannot access {path}: {error}") from error


def _check_location(location: Location, local: Callable[[Path], bool], remote: Callable[[str], bool]) -> bool:
    path = local_path(location)
    if path is None:
        return remote(str(location))
    with _translate_listing(path):
        return local(path)


def exists(location: Location) -> bool:
    """Return whether there is a file or folder.

    Raises:
        BadInputError: the system or server does not answer.
        UnavailableError: the library of the URL's protocol is not installed.
    """

    def remote(url: str) -> bool:
        from exporter.remote.files import url_exists

        return url_exists(url)

    return _check_location(location, Path.exists, remote)


def is_folder(location: Location) -> bool:
    """Return whether a location is a folder; over HTTP, where any address may be one, whether it ends in a slash.

    Raises: as `exists` does.
    """

    def remote(url: str) -> bool:
        from exporter.remote.files import url_is_folder

        return url_is_folder(url)

    return _check_location(location, Path.is_dir, remote)


def list_files(folder: Location) -> list[str]:
    """Return the locations of the files directly in a folder, by name, without hidden ones.

    Raises:
        BadInputError: there is no such folder, or it cannot be listed.
        UnavailableError: the library of the URL's protocol is not installed.
    """
    path = local_path(folder)
    if path is None:
        from exporter.remote.files import list_urls

        found = list_urls(str(folder))
    else:
        with _translate_listing(path):
            found = sorted(str(file) for file in path.iterdir() if file.is_file())
    return [file for file in found if not file_name(file).startswith(".")]


def is_pattern(location: Location) -> bool:
    """Return whether a location has wildcards of `glob`, and is not itself the path of a file or folder.

    Raises: as `exists` does.
    """
    path = local_path(location)
    return any(sign in str(location) for sign in "*[") and not (path is not None and exists(path))


def glob(pattern: Location) -> list[str]:
    """Return the locations that a pattern names, by name: `*` within a folder, `**` across folders, `[0-9]`.

    Raises:
        BadInputError: it cannot be listed.
        UnavailableError: the library of the URL's protocol is not installed.
    """
    path = local_path(pattern)
    if path is not None:
        with _translate_listing(path):
            return sorted(local_glob.glob(str(path), recursive=True))  # noqa: PTH207 - the pattern may be absolute
    from exporter.remote.files import glob_urls

    return glob_urls(str(pattern))


@contextlib.contextmanager
def translate_os_errors(folder: Path) -> Generator[None]:
    """Turn the operating system's refusals to write below `folder` into `OutputError`."""
    try:
        yield
    except OSError as error:
        what = full_disk_error(error, folder) or f"cannot write to {folder}: {error.strerror or error}"
        raise OutputError(f"{what}; no partial file is left there") from error


def check_url(url: Location) -> None:
    """Check, before a long run, that a URL can be written to, as far as it is known: its protocol, and the server.

    Raises:
        OutputError: the server does not respond, or refuses.
        UnavailableError: the library of the URL's protocol is not installed.
    """
    from exporter.remote.files import url_exists

    url_exists(str(url), OutputError)


@contextlib.contextmanager
def write_atomic(location: Location) -> Generator[BinaryIO]:
    """Open a file for writing that appears, complete, when the block ends; after an error it does not.

    Folders are made where they are missing. What goes to a URL is first written to a temporary file here.

    Raises:
        OutputError: it cannot be written; an earlier file is unchanged.
        UnavailableError: the library of the URL's protocol is not installed.
    """
    path = local_path(location)
    if path is not None:
        with translate_os_errors(path.parent):
            make_folders(path.parent)
            with atomic_open(path) as stream:
                yield stream
        return
    from exporter.remote.files import IN_MEMORY_BYTES, upload

    with SpooledTemporaryFile(IN_MEMORY_BYTES) as spool:
        with translate_os_errors(temporary_parent()):
            yield cast(BinaryIO, spool)
        spool.seek(0)
        upload(spool, str(location))


def write_bytes(location: Location, content: bytes) -> None:
    """Write a file completely or not at all; raises as `write_atomic` does."""
    with write_atomic(location) as stream:
        stream.write(content)


def publish_file(staged: Path, location: Location) -> None:
    """Move a finished local file to a location, where it appears complete or not at all; raises as `write_atomic` does.

    Args:
        staged: the file, or, for a local location, a folder of files; on the same file system it is renamed.
        location: its new path or URL. A symbolic link there is replaced, and what it led to stays as it is.
    """
    path = local_path(location)
    if path is None:
        from exporter.remote.files import upload

        with staged.open("rb") as stream:
            upload(stream, str(location))
        staged.unlink()
        return
    with translate_os_errors(path.parent):
        make_folders(path.parent)
        try:
            replace_durably(staged, path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with atomic_open(path) as target, staged.open("rb") as stream:
                shutil.copyfileobj(stream, target, 1 << 20)
            staged.unlink()


def remove(location: Location) -> None:
    """Remove a file, if it is there.

    Raises:
        OutputError: the system or server does not allow it.
        UnavailableError: the library of the URL's protocol is not installed.
    """
    path = local_path(location)
    if path is not None:
        with translate_os_errors(path.parent):
            path.unlink(missing_ok=True)
        return
    from exporter.remote.files import remove_url

    remove_url(str(location))
