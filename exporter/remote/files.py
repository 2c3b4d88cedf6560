"""Files at a URL, through fsspec, with every failure as one line.

HTTP has the limits of `exporter.remote.http`; other protocols have those of their libraries.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import urlsplit

from exporter.errors import BadInputError, OutputError, UnavailableError, UsageError
from exporter.remote.errors import cause, describe, translate
from exporter.remote.http import http_settings, is_http
from models.errors import install_command
from models.http.addresses import redact
from models.http.transfer import LIMITS, Meter, copy_body

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from fsspec import AbstractFileSystem

ATTEMPTS = 3
"""How often a read is tried: a connection that breaks must not cost a video."""
BLOCK_BYTES, BLOCKS = 4 << 20, 8
"""Size of a range request, and how many blocks of an open file are kept in memory."""
IN_MEMORY_BYTES = 32 << 20
"""Size from which on what is spooled goes to a temporary file."""
WITH_FOLDERS = frozenset({"ftp", "hdfs", "arrow_hdfs", "webhdfs", "sftp", "smb", "ssh"})
"""Protocols in which a folder must be made before a file is written into it. Elsewhere a key may contain slashes, and
making its folder could create a bucket."""


def connect(url: str, *, whole: bool = False) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URL, and the path in it.

    Args:
        url: of any protocol that fsspec knows.
        whole: whether a file is to be read in one response, not in blocks.

    Credentials and other settings are those of the protocol's library, or of fsspec's own configuration (the folder
    ~/.config/fsspec, environment variables FSSPEC_<PROTOCOL>_<SETTING>).

    Raises:
        UnavailableError: the protocol's library is not installed.
        UsageError: no such protocol; or several of them in a chain, of which some open files that another file names
            (`reference::`), and some unpack without a limit (`zip://a::`).
    """
    if "::" in url:
        raise UsageError(f"{redact(url)}: '::' in a URL is not supported: neither chained protocols nor IPv6 addresses")
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise UnavailableError(f"{redact(url)}: a URL needs fsspec; {install_command('remote')}") from error
    with translate(url, "", BadInputError):
        try:
            fs, path = url_to_fs(url, **http_settings(url, whole=whole))
        except ValueError as error:
            raise UsageError(f"{redact(url)}: {describe(error, url)}") from cause(error, url)
    fs.invalidate_cache()  # another process may have written since the last listing
    return fs, path


def open_remote(url: str, error: type[BadInputError]) -> BinaryIO:
    """Open a file for reading, with seeks; a protocol with range requests fetches what is read, in blocks.

    Raises:
        BadInputError: of the class given; there is no such file, or it cannot be read.
        UnavailableError: the protocol's library is not installed.
    """
    fs, path = connect(url)
    with translate(url, "cannot be read", error):
        options = {"block_size": BLOCK_BYTES, "cache_type": "blockcache", "cache_options": {"maxblocks": BLOCKS}}
        stream: Any = fs.open(path, "rb", **options)
        return cast(BinaryIO, io.BufferedReader(_Reader(stream, url, error), 1 << 16))


class _Reader(io.RawIOBase):
    """A remote file that is tried again after a broken connection, and whose errors are one line.

    What the server cannot seek in is copied to a temporary file at the first use.
    """

    def __init__(self, stream: Any, url: str, error: type[BadInputError]) -> None:
        self._stream, self._url, self._error = stream, url, error
        # fsspec's stream of a server without ranges or sizes says that it can seek, and cannot
        if not stream.seekable() or getattr(stream, "size", 0) is None:
            self._spool()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer; raises the error's class that the file was opened with."""
        view = memoryview(buffer).cast("B")
        with translate(self._url, "cannot be read", self._error):
            data = self._read(len(view))
        view[: len(data)] = data
        return len(data)

    def _read(self, count: int) -> bytes:
        position = self._stream.tell()
        for later in reversed(range(ATTEMPTS)):
            try:
                return self._read_all(count, position)
            except (FileNotFoundError, PermissionError):
                raise
            except ValueError:  # fsspec's: the server ignores ranges
                self._spool()
            except Exception:
                if not later:
                    raise
            self._stream.seek(position)
        return self._stream.read(count)

    def _read_all(self, count: int, position: int) -> bytes:
        """Read; raises OSError where a server sends less of a part than it said the file has."""
        data: bytes = self._stream.read(count)
        expected = min(count, max((getattr(self._stream, "size", None) or 0) - position, 0))
        if len(data) < expected:
            raise OSError(f"the server sends {len(data)} of {expected} bytes at {position}")
        return data

    def _spool(self) -> None:
        """Copy the whole file, so that seeks work."""
        self._stream.close()
        fs, path = connect(self._url, whole=True)
        with translate(self._url, "cannot be read", self._error), contextlib.ExitStack() as undo:
            copy: IO[bytes] = undo.enter_context(tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES))
            size = cast(int | None, fs.info(path).get("size"))
            with fs.open(path, "rb", block_size=0) as whole:
                _copy(cast(IO[bytes], whole), copy, size)
            copy.seek(0)
            self._stream = copy
            undo.pop_all()  # it is closed with this file

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


def _copy(source: IO[bytes], target: IO[bytes], size: int | None) -> None:
    """Copy a file as it arrives, within the limits of a download.

    Raises:
        TimeoutError: it arrives too slowly.
        OSError: it has another size than was announced.
    """
    meter = Meter(LIMITS)
    meter.receiving(size)

    def read(most: int) -> bytes:
        meter.allowance()
        return source.read(most)

    count = copy_body(read, target.write, meter, size)
    if size is not None and count != size:
        raise OSError(f"the server sends {'more than' if count > size else f'{count} of'} {size} bytes")


def upload(stream: IO[bytes], url: str) -> None:
    """Write what a stream holds to a URL: the file appears complete when all has arrived, or not at all.

    A transaction of fsspec: a put or multipart upload that is completed at the end, or a temporary name that is
    renamed in protocols with folders.

    Raises:
        OutputError: it cannot be written.
        UnavailableError: the protocol's library is not installed.
    """
    fs, path = connect(url)
    with translate(url, "cannot be written; no partial file is left there", OutputError):
        if protocols(fs) & WITH_FOLDERS:
            fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            with fs.transaction, fs.open(path, "wb") as target:
                shutil.copyfileobj(stream, cast(IO[bytes], target), 1 << 20)
        except NotImplementedError as error:
            raise OutputError(f"{redact(url)}: cannot be written: its protocol only reads") from error


def protocols(fs: AbstractFileSystem) -> set[str]:
    """Return the names of a file system's protocol."""
    return {fs.protocol} if isinstance(fs.protocol, str) else {*fs.protocol}


def url_exists(url: str, error: type[BadInputError] = BadInputError) -> bool:
    """Return whether there is a file or folder; raises the class given where the server does not say."""
    fs, path = connect(url)
    with translate(url, "cannot be looked up", error):
        return fs.exists(path, **({"strict": True} if is_http(url) else {}))


def url_is_folder(url: str) -> bool:
    """Return whether a URL is a folder's; over HTTP, where any address may list others, whether it ends in a slash."""
    if is_http(url):
        return urlsplit(url).path.endswith("/")
    fs, path = connect(url)
    with translate(url, "cannot be looked up", BadInputError):
        return fs.isdir(path)


def remove_url(url: str) -> None:
    """Remove a file, if it is there.

    Raises:
        OutputError: the server does not allow it.
    """
    fs, path = connect(url)
    with translate(url, "cannot be removed", OutputError), contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def list_urls(folder: str) -> list[str]:
    """Return the URLs of the files directly in a folder, by name.

    Raises:
        BadInputError: there is no such folder, or it cannot be listed.
    """
    fs, path = connect(folder)
    with translate(folder, "cannot be listed", BadInputError):
        entries: list[dict[str, Any]] = fs.ls(path, detail=True)
    return _under(folder, path, [entry["name"] for entry in entries if entry["type"] == "file"])


def glob_urls(pattern: str) -> list[str]:
    """Return the URLs that a pattern with `*`, `[…]` or `**` names, by name.

    Raises:
        BadInputError: it cannot be listed.
    """
    fixed = pattern[: min(pattern.find(sign) for sign in "*[" if sign in pattern)]
    folder = fixed.rpartition("/")[0]
    fs, path = connect(pattern)
    with translate(pattern, "cannot be listed", BadInputError):
        return _under(folder, connect(folder)[1], cast(list[str], fs.glob(path)))


def _under(folder: str, path: str, names: list[str]) -> list[str]:
    """Return a file system's names as URLs that start as `folder` does, which keeps host and user."""
    prefix = path.rstrip("/") + "/"
    inside = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return sorted(f"{folder.rstrip('/')}/{name}" for name in inside if name and not name.endswith("/"))
