"""Files that reports are written to: checked before the long run, and never left incomplete."""

import os
from pathlib import Path

from exporter.errors import OutputError
from models.paths import atomic_write


def check_output_path(path: Path, option: str) -> None:
    """Check early that a report can be written.

    Args:
        path: the file to write.
        option: the option that names it, for the message.

    Raises:
        OutputError: there is no such folder, or file or folder do not allow writing.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{option} {path}: cannot be written: there is no folder {path.parent}")
    if path.is_dir():
        raise OutputError(f"{option} {path}: cannot be written: it is a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"{option} {path}: cannot be written: no permission")


def write_file(path: Path, content: bytes, option: str) -> None:
    """Write a file completely or not at all; a pipe or device (/dev/stdout) is written to directly.

    Raises:
        OutputError: the operating system does not allow it.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
        else:
            atomic_write(path, content)
    except OSError as error:
        raise OutputError(f"{option} {path}: cannot be written: {error.strerror}") from error
