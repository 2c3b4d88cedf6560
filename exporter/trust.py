"""Which model files may run code here.

An ONNX or OpenVINO file is data: an engine interprets it. The files of `CODE_FORMATS` are code: TorchScript runs
functions of its own while it is loaded and may read and write files; `torch.export.load` unpickles and evaluates
expressions; an AOTInductor package is a shared library; a TensorRT engine holds machine code and may name plugins. Such
a file runs only if its bytes are vouched for: this tool wrote them here (a record of SHA-256 in the user's state
folder), or the user says so (`LoadChecks`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable, Mapping
from io import FileIO
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, cast

from exporter.errors import ArtifactError
from exporter.file_state import require_regular
from exporter.load_checks import Vouched
from models.cache import state_folder
from models.paths import acquire_lock, atomic_write, memory_file, require_file, seal

CODE_FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "torchscript": "a TorchScript archive",
        "pt2": "a torch.export program",
        "pt2-aoti": "an AOTInductor package",
        "tensorrt": "a TensorRT engine",
    }
)
"""{format whose files are code: what messages call one}."""

RECORD = "written.sha256"
"""The record's file: a SHA-256 in hexadecimal on each line, the newest last."""
MAX_RECORDED = 4096
"""Hashes that the record keeps at least; the oldest beyond twice as many are dropped."""
LINE_BYTES = 65
CHUNK_BYTES = 1 << 20
LOCK_TIMEOUT_S = 10.0
"""How long other runs are waited for that record their files: a stopped one may hold the lock for ever."""
_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Flags: a pipe under the record's name is not waited for, and Windows changes no line ends."""
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def record_written(hashes: Iterable[str]) -> None:
    """Record that this tool wrote files of these SHA-256 here. Where the folder cannot be written, nothing happens.

    The files then need `--trust` later; `describe_unrecorded` says so.
    """
    lines = "".join(f"{sha256}\n" for sha256 in hashes)
    if not lines:
        return
    path = state_folder() / RECORD
    with contextlib.suppress(OSError, NotImplementedError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with acquire_lock(path.with_name(f"{RECORD}.lock"), LOCK_TIMEOUT_S):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _NO_WAIT, 0o600)
            with os.fdopen(descriptor, "r+b", buffering=0) as stream:
                require_regular(os.fstat(descriptor))
                stream.write(lines.encode())  # one call, so that no other process writes in between
                if os.fstat(descriptor).st_size > 2 * MAX_RECORDED * LINE_BYTES:
                    atomic_write(path, b"".join(_newest(stream).splitlines(keepends=True)[-MAX_RECORDED:]))


def is_recorded(sha256: str) -> bool:
    """Return whether this tool recorded that it wrote a file of this SHA-256 here.

    A record that others may write to, or that belongs to another user, is ignored.
    """
    try:
        with os.fdopen(os.open(state_folder() / RECORD, os.O_RDONLY | _NO_WAIT), "rb", buffering=0) as stream:
            about = os.fstat(stream.fileno())
            require_regular(about)
            if os.name != "nt" and (about.st_uid != os.getuid() or about.st_mode & OTHERS_MAY_WRITE):
                return False
            return sha256.encode() in _newest(stream).splitlines()
    except OSError:
        return False


def describe_unrecorded(format_name: str, model: str, sha256: str) -> tuple[str, ...]:
    """Return a note about a file just written here that is code and could not be recorded; nothing for others.

    Args:
        format_name: its format.
        model: its name.
        sha256: its hash.
    """
    if format_name not in CODE_FORMATS or is_recorded(sha256):
        return ()
    return (
        f"{model}: {CODE_FORMATS[format_name]} is code, and that it was written here could not be recorded in "
        f"{state_folder()}: later commands need --trust for it; C3D_EXPORT_STATE names another folder for the record",
    )


def _newest(stream: FileIO) -> bytes:
    """Return the end of an open record, as much as one may have: the file may have become larger."""
    most = 3 * MAX_RECORDED * LINE_BYTES
    stream.seek(max(os.fstat(stream.fileno()).st_size - most, 0))
    return stream.read(most)


def open_code(path: Path, what: str, vouched: Vouched) -> BinaryIO:
    """Open a file whose code is about to run, and refuse one that nothing vouches for.

    What is loaded from the stream, or from its `models.paths.descriptor_path`, is what was hashed: a private copy, in
    memory where the system has such files, so that it cannot change in between. A file that is trusted whatever it
    holds is opened as it is.

    Args:
        path: the file.
        what: what it is, for the message.
        vouched: what may run besides the recorded files.

    Returns:
        the file, open for reading at its start.

    Raises:
        ArtifactError: there is no such file, it cannot be read, or nothing vouches for it.
    """
    require_file(path, "file", ArtifactError)
    try:
        stream = path.open("rb")
        if vouched.everything:
            return stream
        with stream, contextlib.ExitStack() as stack:
            copy = stack.enter_context(memory_file() or cast("BinaryIO", tempfile.TemporaryFile()))  # noqa: SIM115 - entered here
            sha256 = _copy(stream, copy)
            if sha256 not in vouched.sha256:
                require_recorded(path, what, sha256)
            stack.pop_all()
            return copy
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError(f"a copy of {path}") from error
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}") from error


def _copy(source: BinaryIO, copy: BinaryIO) -> str:
    """Copy a file, make the copy read-only where the system can, and return its SHA-256."""
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        copy.write(chunk)
    copy.flush()
    with contextlib.suppress(OSError, ImportError, AttributeError):  # a file on disk, which has no name
        seal(copy)
    copy.seek(0)
    return digest.hexdigest()


def require_recorded(path: Path, what: str, sha256: str, reason: str = "") -> None:
    """Refuse a file that is code and that this tool has not recorded as its own.

    Args:
        path: the file.
        what: what it is, for the message.
        sha256: its hash.
        reason: what else was looked for, and not found: that its manifest is not signed.

    Raises:
        ArtifactError: the message says why, and what to do.
    """
    if is_recorded(sha256):
        return
    looked = f", and {reason}" if reason else ""
    if not os.path.isfile(state_folder() / RECORD):  # noqa: PTH113 - False where the folder may not be looked into
        looked += f" (there is no record in {state_folder()})"
    raise ArtifactError(
        f"{path}: {what} is code, and there is no record that this tool wrote it here (SHA-256 {sha256[:16]}…){looked}"
        "; export it again here, or add --trust if you trust its author to run code on this machine"
    )
