"""The zip archives that torch writes, read as data: nothing of them runs, and torch is not imported."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

from exporter.errors import ArtifactError
from models.foreign_files import describe_file
from models.unpacking import BAD_ZIP

ZIP_ERRORS = (RuntimeError, *BAD_ZIP)
"""What Python's zip reader raises on damaged, encrypted or unsupported archives."""


@contextlib.contextmanager
def open_archive(path: Path, kind: str, opened: BinaryIO | None = None) -> Generator[zipfile.ZipFile]:
    """Open an archive for the block.

    Args:
        path: the archive.
        kind: what it should be, for messages: `TorchScript archive`.
        opened: the same file, where it is open already.

    Raises:
        ArtifactError: it cannot be read, or what the block reads of it is damaged.
    """
    try:
        with zipfile.ZipFile(opened or path) as archive:
            yield archive
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}") from error
    except ZIP_ERRORS as error:
        if (what := describe_file(path)) is not None:
            raise ArtifactError(f"{path}: not a {kind} but {what}") from error
        raise ArtifactError(f"{path}: not a whole {kind}: {error}") from error


def read_member(path: Path, kind: str, ending: str, max_bytes: int, opened: BinaryIO | None = None) -> bytes:
    """Return the content of the first member whose name ends in `ending`; the other arguments as in `open_archive`.

    Raises:
        ArtifactError: there is none, it is larger than `max_bytes`, or it cannot be read.
    """
    with open_archive(path, kind, opened) as archive:
        found = next((entry for entry in archive.infolist() if entry.filename.endswith(ending)), None)
        if found is None or found.file_size > max_bytes:
            fault = "missing" if found is None else "too large"
            raise ArtifactError(f"{path}: not a whole {kind}: its member …{ending} is {fault}")
        return archive.read(found)
