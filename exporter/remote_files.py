"""Files at a URL, through fsspec, with every failure as one line. `exporter.storage` is what callers use.

fsspec's file systems share no base class of errors: a missing object, rejected credentials and a broken connection come
as whatever the protocol's library raises. They are all translated here.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Generator
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import urlsplit

from exporter.errors import BadInputError, C3DExportError, OutputError, UnavailableError, UsageError
from models.checkpoints.addresses import redact

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from fsspec import AbstractFileSystem

TIMEOUT_S = 30.0
"""How long an HTTP server may stay silent."""
ATTEMPTS = 3
"""How often a read is tried: a connection that breaks must not cost a video."""
BLOCK_BYTES, BLOCKS = 4 << 20, 8
"""Size of a range request, and how many blocks of an open file are kept in memory."""
IN_MEMORY_BYTES = 32 << 20
"""Size from which on what is spooled goes to a temporary file."""
WITH_FOLDERS = frozenset({"ftp", "hdfs", "arrow_hdfs", "webhdfs", "sftp", "smb", "ssh"})
"""Protocols in which a folder must be made before a file is written into it. Elsewhere a key may contain slashes, and
making its folder could create a bucket."""


def display(url: str) -> str:
    """Return a URL for messages and records: without user, password and query, which may be secrets."""
    return redact(url)


def connect(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URL, and the path in it.

    Credentials and other settings are those of the protocol's library, or of fsspec's own configuration (the folder
    ~/.config/fsspec, environment variables FSSPEC_<PROTOCOL>_<SETTING>).

    Raises:
        UnavailableError: the protocol's library is not installed.
        UsageError: no such protocol.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise UnavailableError(f"{display(url)}: a URL needs fsspec; pip install 'c3d-export[remote]'") from error
    try:
        fs, path = url_to_fs(url, **_settings(url))
    except ImportError as error:
        raise UnavailableError(f"{display(url)}: {_missing(error)}") from error
    except ValueError as error:
        raise UsageError(f"{display(url)}: {_reason(error, url)}") from error
    except Exception as error:  # its exceptions share no base class
        raise BadInputError(f"{display(url)}: {_reason(error, url)}") from error
    fs.invalidate_cache()  # another process may have written since the last listing
    return fs, path


def _settings(url: str) -> dict[str, Any]:
    """Return the timeouts of HTTP, unless the user configured the client."""
    if not url.startswith(("http://", "https://")):
        return {}
    try:
        import aiohttp
        from fsspec.config import conf
    except ImportError:
        return {}
    if "client_kwargs" in conf.get("http", {}):
        return {}
    return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(None, sock_connect=TIMEOUT_S, sock_read=TIMEOUT_S)}}


def _missing(error: ImportError) -> str:
    """Return how to install a protocol's library."""
    cause = error.__cause__
    name = (cause.name if isinstance(cause, ImportError) else None) or error.name or "the protocol's library"
    library = name.partition(".")[0]
    package = "'c3d-export[remote]'" if library in ("aiohttp", "requests") else library
    return f"{library} is not installed; pip install {package}"


def _reason(error: BaseException, url: str) -> str:
    """Return why an operation failed, in one line without secrets."""
    if isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__  # fsspec reports any failure of HTTP's first request as a missing file
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status == 404:
        return "there is no such file"
    if isinstance(error, PermissionError) or status in (401, 403) or "credential" in type(error).__name__.lower():
        return "access is denied; check that the credentials of its protocol are set, and what they allow"
    if isinstance(error, TimeoutError):
        return "the server does not respond in time; run it again"
    if isinstance(status, int):
        return f"the server responds {status} {getattr(error, 'message', '')}".rstrip()
    text = " ".join(str(error).split()) or type(error).__name__
    return text.replace(url, display(url))[:300]


@contextlib.contextmanager
def translate(url: str, what: str, error: type[BadInputError]) -> Generator[None]:
    """Raise `error` with one line for whatever fsspec raises in the block.

    Args:
        url: what the block is about.
        what: what failed, for the message: `cannot be read`.
        error: the class to raise.
    """
    try:
        yield
    except C3DExportError:
        raise
    except ImportError as missing:
        raise UnavailableError(f"{display(url)}: {_missing(missing)}") from missing
    except Exception as failure:  # the libraries' exceptions share no base class
        raise error(f"{display(url)}: {what}: {_reason(failure, url)}") from failure


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
        return cast(BinaryIO, io.BufferedReader(_Reader(stream, fs, path, url, error), 1 << 16))


class _Reader(io.RawIOBase):
    """A remote file that is tried again after a broken connection, and whose errors are one line.

    What the server cannot seek in is copied to a temporary file at the first use.
    """

    def __init__(self, stream: Any, fs: AbstractFileSystem, path: str, url: str, error: type[BadInputError]) -> None:
        self._stream, self._fs, self._path, self._url, self._error = stream, fs, path, url, error
        if not stream.seekable():
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
                return self._stream.read(count)
            except (FileNotFoundError, PermissionError):
                raise
            except ValueError:  # fsspec's: the server ignores ranges
                self._spool()
            except Exception:
                if not later:
                    raise
            self._stream.seek(position)
        return self._stream.read(count)

    def _spool(self) -> None:
        """Copy the whole file, so that seeks work."""
        copy: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - closed with this file
        with translate(self._url, "cannot be read", self._error), self._fs.open(self._path, "rb", block_size=0) as all_:
            shutil.copyfileobj(cast(IO[bytes], all_), copy)
        copy.seek(0)
        self._stream.close()
        self._stream = copy

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


def upload(stream: IO[bytes], url: str) -> None:
    """Write what a stream holds to a URL: the file appears complete when all has arrived, or not at all.

    A transaction of fsspec: a put or multipart upload that is completed at the end, or a temporary name that is
    renamed in protocols with folders.

    Raises:
        OutputError: it cannot be written.
        UnavailableError: the protocol's library is not installed.
    """
    fs, path = connect(url)
    with translate(url, "cannot be written, nothing half-written is left there", OutputError):
        if protocols(fs) & WITH_FOLDERS:
            fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            with fs.transaction, fs.open(path, "wb") as target:
                shutil.copyfileobj(stream, cast(IO[bytes], target), 1 << 20)
        except NotImplementedError as error:
            raise OutputError(f"{display(url)}: cannot be written: its protocol only reads") from error


def protocols(fs: AbstractFileSystem) -> set[str]:
    """Return the names of a file system's protocol."""
    return {fs.protocol} if isinstance(fs.protocol, str) else {*fs.protocol}


def url_exists(url: str, error: type[BadInputError] = BadInputError) -> bool:
    """Return whether there is a file or folder; raises the class given where the server does not say."""
    fs, path = connect(url)
    with translate(url, "cannot be looked up", error):
        return fs.exists(path)


def url_is_folder(url: str) -> bool:
    """Return whether a URL is a folder's; over HTTP, where any address may list others, whether it ends in a slash."""
    if url.startswith(("http://", "https://")):
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
