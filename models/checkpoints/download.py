"""Downloads over HTTPS: cached, resumed where they stopped, and used only when complete.

A cache entry is a folder named after the address, with the file, `record.json` beside it, and, while it is incomplete,
`<file>.part` with `part.json` (the validator that a resumed request must name). The file appears by a rename after its
length and SHA-256 were checked; the lock only saves two processes from downloading twice.

The module is own code because no library does all of it. requests, urllib3 and httpx are HTTP clients, none of which
the base installation has; their time limits are a socket's, which a slow server evades, and resuming with `If-Range`,
the cache, the hash check and the refusal of redirects that leave HTTPS would remain. pooch has a cache, a hash check
and a progress bar, but starts again after a broken connection and follows redirects to plain HTTP. huggingface_hub
resumes, but only files of the Hub; `hf://` addresses use it.
"""

import hashlib
import http.client
import os
import shutil
import ssl
import time
import urllib.error
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import filelock
import msgspec

from models.cache import cache_folder
from models.errors import CheckpointError
from models.http.addresses import Address, file_name
from models.http.bodies import HEAD_BYTES, Body, read_headers, require_content
from models.http.client import open_url
from models.http.errors import ChangedError, DeadlineError, ResponseError
from models.http.transfer import LIMITS, Meter, copy_body
from models.paths import acquire_lock, atomic_write
from models.progress import Progress
from models.text import format_bytes

MAX_DOWNLOAD_BYTES = 8 << 30
ATTEMPTS = 4
UNAUTHORIZED, RANGE_REFUSED = 401, (412, 416)
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
        cached: whether it is in the download cache, where a damaged file may be removed.
    """

    path: Path
    url: str | None = None
    sha256: str | None = None
    notes: tuple[str, ...] = ()
    cached: bool = False


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


def download(address: Address, sha256: str | None, progress: Progress) -> ResolvedSource:
    """Return the file at an address, from the cache or the network.

    Args:
        address: where it is.
        sha256: what the file must have; None takes what was recorded, or records it now.
        progress: called while bytes arrive.

    Raises:
        CheckpointError: it is not available, is no file, has another SHA-256, took too long, or the cache cannot be
            written to.
    """
    folder = cache_folder() / hashlib.sha256(address.key.encode()).hexdigest()[:16]
    path = folder / file_name(address.url)
    try:
        if (cached := _cached(path, address.display, sha256)) is not None:
            return cached
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = acquire_lock(folder / "lock", timeout=0)
        except filelock.Timeout:
            progress(f"waiting for another download of {path.name}")
            lock = acquire_lock(folder / "lock")
        with lock:
            if (cached := _cached(path, address.display, sha256)) is not None:
                return cached
            return _fetch(address, sha256, path, progress)
    except OSError as error:
        raise CheckpointError(
            f"{address.display}: cannot keep it in {folder}: {error.strerror or error}; make room there, or set "
            "C3D_EXPORT_CACHE to another folder"
        ) from error
    except ResponseError as error:
        raise CheckpointError(f"{address.display}: {error}") from error.__cause__


def _cached(path: Path, display_url: str, sha256: str | None) -> ResolvedSource | None:
    try:
        record = msgspec.json.decode(path.with_name("record.json").read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not path.is_file():
        return None
    if sha256 is not None and sha256 != record.sha256:
        raise ResponseError(
            f"the cached file has SHA-256 {record.sha256[:16]}…, not {sha256[:16]}…; remove {path.parent} to download "
            "it again"
        )
    if (size := path.stat().st_size) != record.bytes:
        raise ResponseError(
            f"the cached file was changed: it has {size} bytes, not {record.bytes}; remove {path} to download it again"
        )
    note = f"from the cache, {path}; remove it to download it again"
    return ResolvedSource(path, display_url, record.sha256, (note,), cached=True)


def _fetch(address: Address, sha256: str | None, path: Path, progress: Progress) -> ResolvedSource:
    part = path.with_name(f"{path.name}.part")
    body = _receive_all(address, part, progress)
    progress(f"checking {path.name}")
    with part.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
        stream.seek(0)
        found = hashlib.file_digest(stream, "sha256").hexdigest()
        os.fsync(stream.fileno())
    try:
        require_content(head)
        if sha256 is not None and found != sha256:
            raise ResponseError(
                f"what arrived has SHA-256 {found}, not {sha256}; it was removed: the file at this address has "
                "changed, or the hash is of another file"
            )
        if sha256 is None and not body.delimited:
            raise ResponseError(
                "the server does not state the file's length, so a truncated download could not be detected; "
                "#sha256=… after the address allows it"
            )
    except ResponseError:
        _discard(part)
        raise
    size = part.stat().st_size
    part.replace(path)
    atomic_write(path.with_name("record.json"), msgspec.json.encode(Record(address.display, found, size)))
    path.with_name("part.json").unlink(missing_ok=True)
    given = "as given" if sha256 else f"recorded: {found}; #sha256=… after the address requires it"
    note = f"downloaded {format_bytes(size)} to {path}, SHA-256 {given}"
    return ResolvedSource(path, address.display, found, (note,), cached=True)


def _receive_all(address: Address, part: Path, progress: Progress) -> Body:
    """Receive the whole file into `part`, with several attempts."""
    meter = Meter(LIMITS)
    for left in reversed(range(ATTEMPTS)):
        try:
            return _receive(address, part, meter, progress)
        except urllib.error.HTTPError as error:
            login = "; give user and password in the address or in ~/.netrc" if error.code == UNAUTHORIZED else ""
            said = f"{error.code} {error.reason[:80]}".rstrip()
            raise ResponseError(f"the server responds {said}{login}") from error
        except ChangedError:
            _discard(part)
            if not left:
                raise ResponseError("the file changes while it is downloaded") from None
        except RETRYABLE as error:
            cause = getattr(error, "reason", "") or error
            text = (isinstance(cause, OSError) and cause.strerror) or str(cause) or type(error).__name__
            reason = " ".join(text.split())[:200]  # http.client quotes what the server sent
            final = isinstance(error, ssl.SSLError | DeadlineError)
            if final or not left or not part.is_file():
                kept = "; what arrived is kept, run it again to resume" if _resumable(part) is not None else ""
                raise ResponseError(f"the download failed: {reason}{kept}") from error
    raise AssertionError("the last attempt returns or raises")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name("part.json").unlink(missing_ok=True)


def _receive(address: Address, part: Path, meter: Meter, progress: Progress) -> Body:
    """Receive into `part`, from where it ends if the server still has the same file.

    Raises:
        ResponseError: not the file, or too large.
        ChangedError: the server has another file than the one that `part` begins.
        OSError: the connection broke off, or the disk is full.
    """
    known = _resumable(part)
    ranges = {} if known is None else {"Range": f"bytes={known.start}-", "If-Range": known.validator}
    try:
        response = open_url(address, ranges, meter)
    except urllib.error.HTTPError as error:
        error.close()  # it is the open response as well
        if error.code in RANGE_REFUSED and known is not None:
            raise ChangedError from error
        raise
    with response:
        body = read_headers(response.status, response.headers, known)
        if (body.total or 0) > MAX_DOWNLOAD_BYTES:
            raise ResponseError(f"{body.total} bytes announced; the limit for a checkpoint is {MAX_DOWNLOAD_BYTES}")
        if body.total is not None and body.total - body.start > (free := shutil.disk_usage(part.parent).free):
            raise ResponseError(
                f"{format_bytes(body.total - body.start)} to download, {format_bytes(free)} free in {part.parent}; "
                "make room there, or set C3D_EXPORT_CACHE to another folder"
            )
        meter.receiving(body.total)
        atomic_write(part.with_name("part.json"), msgspec.json.encode(ResumeState(body.validator, body.total)))
        with part.open("r+b" if body.start else "wb") as out:
            out.seek(body.start)
            count = body.start + _copy(response, out, body, meter, part.stem, progress)
    if count > MAX_DOWNLOAD_BYTES:
        _discard(part)
        raise ResponseError(f"larger than {MAX_DOWNLOAD_BYTES} bytes, the limit for a checkpoint")
    if body.total is not None and count != body.total:
        what = "broke off after" if count < body.total else "has"
        raise ConnectionError(f"it {what} {count} of {body.total} bytes")
    return body


def _copy(
    response: http.client.HTTPResponse, out: IO[bytes], body: Body, meter: Meter, name: str, progress: Progress
) -> int:
    """Copy what arrives, and return how much it was."""
    reported = 0.0
    of = f" of {body.total / 1e6:,.0f}" if body.total else ""

    def write(chunk: bytes) -> None:
        nonlocal reported
        out.write(chunk)
        out.flush()  # a signal may end the process at any moment: what arrived stays
        if time.monotonic() - reported > PROGRESS_INTERVAL_S:
            reported = time.monotonic()
            progress(f"downloading {name}: {out.tell() / 1e6:,.0f}{of} MB")

    return copy_body(response.read1, write, meter, MAX_DOWNLOAD_BYTES - body.start)


def _resumable(part: Path) -> Body | None:
    """Return what is there already; None where it cannot be continued."""
    try:
        known = msgspec.json.decode(part.with_name("part.json").read_bytes(), type=ResumeState)
        have = part.stat().st_size
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not known.validator or known.validator.startswith("W/") or not 0 < have < (known.total or have + 1):
        return None
    return Body(have, known.total, known.validator, delimited=True)
