"""Downloads over HTTPS: cached, resumed where they stopped, and used only when complete.

A cache entry is a folder named after the address, with the file, `record.json` beside it, and, while it is incomplete,
`<file>.part` with `part.json` (the validator that a resumed request must name). The file appears by a rename after its
length and SHA-256 were checked; the lock only saves two processes from downloading twice.

The module is own code because no library does all of it. requests and httpx are HTTP clients: resuming with `If-Range`,
the cache, the hash check and the refusal of redirects that leave HTTPS would remain. pooch has a cache, a hash check
and a progress bar, but starts again after a broken connection and follows redirects to plain HTTP. huggingface_hub
resumes, but only files of the Hub; `hf://` addresses use it.
"""

import hashlib
import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

import msgspec

from models.cache import cache_folder
from models.errors import CheckpointError
from models.paths import acquire_lock, atomic_write
from models.progress import Progress

TIMEOUT = 30.0
"""Seconds that a server may stay silent."""
ATTEMPTS = 4
CHUNK = 1 << 20
MAX_DOWNLOAD_BYTES = 8 << 30
MAX_NAME_BYTES = 200
PARTIAL, RANGE_REFUSED = 206, 416
PROGRESS_INTERVAL_S = 0.2
"""Seconds between two progress reports."""

RETRYABLE = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError)


@dataclass(frozen=True)
class ResolvedSource:
    """A checkpoint on this disk.

    Attributes:
        path: where it is.
        url: where it came from, without user, password and query, which may be secrets; None for a file of the user.
        sha256: what it must have; None where nothing was given or recorded.
        notes: messages for the user: whether it was downloaded or taken from the cache.
    """

    path: Path
    url: str | None = None
    sha256: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """What `record.json` keeps of a download."""

    url: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class ResumeState:
    """What `part.json` keeps: the validator of the bytes already there, and how many there will be."""

    validator: str
    total: int | None


class _OnlyHTTPS(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Follow a redirect, unless it leaves HTTPS."""
        if not newurl.lower().startswith("https://"):
            fp.close()
            raise urllib.error.URLError("it redirects to an address that is not https://")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, display_url: str, sha256: str | None, progress: Progress) -> ResolvedSource:
    """Return the file at `url`, from the cache or the network.

    Args:
        url: `https://…`, secrets included.
        display_url: the same without secrets, for messages and records.
        sha256: what the file must have; None takes what was recorded, or records it now.
        progress: called while bytes arrive.

    Raises:
        CheckpointError: it is not available, has another SHA-256, or the cache cannot be written to.
    """
    folder = cache_folder() / hashlib.sha256(url.encode()).hexdigest()[:16]
    path = folder / file_name(url)
    try:
        if (cached := _cached(folder, path, display_url, sha256)) is not None:
            return cached
        folder.mkdir(parents=True, exist_ok=True)
        with acquire_lock(folder / "lock"):
            if (cached := _cached(folder, path, display_url, sha256)) is not None:
                return cached
            return _fetch(url, display_url, sha256, path, progress)
    except OSError as error:
        raise CheckpointError(f"{display_url}: cannot keep it in {folder}: {error.strerror or error}") from error


def file_name(url: str) -> str:
    """Return a plain file name for what is at `url`."""
    try:
        name = unquote(urlsplit(url).path, errors="replace").replace("\\", "/").rsplit("/", 1)[-1]
    except ValueError:
        name = ""
    name = re.sub(r"[\x00-\x1f\x7f]", "", name).encode()[:MAX_NAME_BYTES].decode(errors="ignore").lstrip(".")
    return (
        name if name and not name.endswith((".part", "record.json", "part.json")) and name != "lock" else "checkpoint"
    )


def _cached(folder: Path, path: Path, display_url: str, sha256: str | None) -> ResolvedSource | None:
    try:
        record = msgspec.json.decode((folder / "record.json").read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not path.is_file():
        return None
    if sha256 is not None and sha256 != record.sha256:
        raise CheckpointError(
            f"{display_url}: the cached file has SHA-256 {record.sha256[:16]}…, not {sha256[:16]}…; remove {folder} to "
            "download it again"
        )
    return ResolvedSource(
        path, display_url, record.sha256, (f"from the cache, {path}; remove it to download it again",)
    )


def _fetch(url: str, display_url: str, sha256: str | None, path: Path, progress: Progress) -> ResolvedSource:
    part = path.with_name(f"{path.name}.part")
    for attempt in range(ATTEMPTS):
        try:
            _receive(url, display_url, part, progress)
            break
        except urllib.error.HTTPError as error:
            raise CheckpointError(f"{display_url}: the server responds {error.code} {error.reason}") from error
        except RETRYABLE as error:
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
            if attempt == ATTEMPTS - 1 or not part.is_file() or isinstance(error, ssl.SSLError):
                kept = (
                    "; what arrived is kept, run it again to resume" if part.is_file() and part.stat().st_size else ""
                )
                raise CheckpointError(f"{display_url}: the download failed: {reason}{kept}") from error
    progress(f"checking {path.name}")
    with part.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
        os.fsync(stream.fileno())
    if sha256 is not None and found != sha256:
        part.unlink()
        raise CheckpointError(
            f"{display_url}: what arrived has SHA-256 {found}, not {sha256}; it was removed: the file at this "
            "address has changed, or the hash is of another file"
        )
    size = part.stat().st_size
    part.replace(path)
    atomic_write(path.with_name("record.json"), msgspec.json.encode(Record(display_url, found, size)))
    path.with_name("part.json").unlink(missing_ok=True)
    given = "as given" if sha256 else f"recorded: {found}; #sha256=… after the address requires it"
    return ResolvedSource(path, display_url, found, (f"downloaded {size / 1e6:,.1f} MB to {path}, SHA-256 {given}",))


def _receive(url: str, display_url: str, part: Path, progress: Progress) -> None:
    """Receive into `part`, from where it ends if the server still has the same file.

    Raises:
        CheckpointError: a web page, or too large.
        OSError: the connection broke off, or the disk is full.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "c3d-export", "Accept-Encoding": "identity"})  # noqa: S310 - https only
    have, known = _resumable(part)
    if known is not None:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", known.validator)
    opener = urllib.request.build_opener(_OnlyHTTPS())
    try:
        response = opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()  # it is the open response as well
        if error.code == RANGE_REFUSED and known is not None:
            part.unlink(missing_ok=True)
            raise ConnectionError("the server refuses to resume") from error
        raise
    with response:
        headers: Mapping[str, str] = response.headers
        resumed = response.status == PARTIAL and headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if headers.get("Content-Type", "").startswith("text/html"):
            raise CheckpointError(f"{display_url}: the server sends a web page, not a file; open it in a browser")
        length = headers.get("Content-Length", "")
        start = have if resumed else 0
        total = start + int(length) if length.isdigit() else None
        if (total or 0) > MAX_DOWNLOAD_BYTES:
            raise CheckpointError(f"{display_url}: {total} bytes announced, more than any checkpoint of C3D")
        validator = headers.get("ETag") or headers.get("Last-Modified") or ""
        atomic_write(part.with_name("part.json"), msgspec.json.encode(ResumeState(validator, total)))
        with part.open("r+b" if resumed else "wb") as out:
            out.seek(start)
            count = start + _copy(response, out, start, total, part.stem, progress)
    if count > MAX_DOWNLOAD_BYTES:
        part.unlink()
        raise CheckpointError(f"{display_url}: more than {MAX_DOWNLOAD_BYTES} bytes, more than any checkpoint of C3D")
    if total is not None and count != total:
        raise ConnectionError(f"it broke off after {count} of {total} bytes")


def _copy(
    response: http.client.HTTPResponse, out: IO[bytes], start: int, total: int | None, name: str, progress: Progress
) -> int:
    """Copy what arrives, and return how much it was."""
    count, reported = 0, 0.0
    of = f" of {total / 1e6:,.0f}" if total else ""
    while start + count <= MAX_DOWNLOAD_BYTES:
        chunk = response.read1(CHUNK)
        if not chunk:
            break
        out.write(chunk)
        count += len(chunk)
        if time.monotonic() - reported > PROGRESS_INTERVAL_S:
            reported = time.monotonic()
            progress(f"downloading {name}: {(start + count) / 1e6:,.0f}{of} MB")
    return count


def _resumable(part: Path) -> tuple[int, ResumeState | None]:
    """Return how many bytes are there, and what they are of; None where they cannot be continued."""
    try:
        known = msgspec.json.decode(part.with_name("part.json").read_bytes(), type=ResumeState)
        have = part.stat().st_size
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return 0, None
    strong = known.validator and not known.validator.startswith("W/")
    return (have, known) if strong and have > 0 and have != known.total else (0, None)
