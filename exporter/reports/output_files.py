"""Places that reports are written to: asked for before the long run, and never left half-written."""

import contextlib
import os
from pathlib import Path

from exporter.errors import OutputError


def check_output_path(path: Path, option: str) -> None:
    """Tell early that a report could not be written.

    Args:
        path: the file to be.
        option: which named it, for the message.

    Raises:
        OutputError: there is no such folder, or file or folder do not allow writing.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{option} {path}: cannot be written: there is no folder {path.parent}")
    if path.is_dir():
        raise OutputError(f"{option} {path}: cannot be written: it is a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"{option} {path}: cannot be written: no permission")


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; what is no plain file (a pipe, /dev/stdout) is written into.

    Raises:
        OSError: as the system tells.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
