"""What tests of downloads share: a file, the replies that send it, and what is left in the cache."""

from pathlib import Path

import pytest

from helpers.scripted_server import Reply, response
from models.checkpoints.sources import resolve
from models.errors import CheckpointError
from models.progress import no_progress

CONTENT = bytes(range(256)) * 100
ETAG = 'ETag: "one"'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(CONTENT) + ETAG.encode() + b"\r\n\r\n"


def refuse(source: str, match: str) -> str:
    """Return the message of a source that is refused."""
    with pytest.raises(CheckpointError, match=match) as caught:
        resolve(source, no_progress)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files(tmp_path: Path) -> list[str]:
    """Return the names of the files in the cache, without locks."""
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.name != "lock")


def header(request: str, name: str) -> str | None:
    """Return a header of a request."""
    lines = [line.partition(": ") for line in request.splitlines()]
    return next((value for key, _, value in lines if key.lower() == name.lower()), None)


def redirect(location: str, status: str = "302 Found") -> Reply:
    return response(b"", status, f"Location: {location}")


def rest(first: int, *headers: str, content: bytes = CONTENT) -> Reply:
    last = len(content) - 1
    return response(content[first:], "206 Partial Content", f"Content-Range: bytes {first}-{last}/{last + 1}", *headers)
