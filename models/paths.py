"""Files: the first look at a path that a user gave, and writing one completely or not at all."""

import contextlib
import os
import secrets
from pathlib import Path

from models.errors import BadInputError


def require_file(path: Path, what: str, error: type[BadInputError]) -> int:
    """Return the size in bytes of the file at `path`.

    Args:
        path: as the user gave it.
        what: what it should be, for the message: `checkpoint`, `artifact`.
        error: the class to raise.

    Raises:
        BadInputError: of the class given: the path does not exist, is not a file, or cannot be accessed.
    """
    try:
        if not path.exists():
            raise error(f"no such {what}: {path}")
        if not path.is_file():
            raise error(f"not a file: {path}; give the {what} itself")
        return path.stat().st_size
    except OSError as refusal:
        raise error(f"cannot look at {path}: {refusal.strerror or refusal}") from refusal


def is_plain_name(name: str) -> bool:
    """Return whether a name that a file states stays in that file's own folder."""
    return Path(name).name == name and name not in ("", ".", "..") and "\0" not in name


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file completely or not at all: it appears under its name when all of it is there.

    Raises:
        OSError: the system does not allow it; an earlier file is then unchanged.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
