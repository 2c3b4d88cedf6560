"""What a server sends: whether it is the file, or the rest of it, that was asked for."""

import re
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from models.http.errors import ChangedError, ResponseError

HEAD_BYTES = 1024
"""How much of a file's beginning shows whether it is text."""
MODIFIED_BEFORE_S = 60.0
"""A date of modification identifies a content if it is this much older than the response (RFC 9110, 8.8.2.2)."""
CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
LENGTH = re.compile(r"\d{1,18}", re.ASCII)
TEXTS = (
    (re.compile(rb"<(!doctype html|html|head|body|script|!--)", re.IGNORECASE), "a web page"),
    (re.compile(rb"<[?!A-Za-z]"), "XML text"),
    (re.compile(rb"[{\[]"), "JSON text"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer"),
)


@dataclass(frozen=True)
class Body:
    """What a response announces.

    Attributes:
        start: where in the file its bytes begin.
        total: size of the whole file; None where it is not announced.
        validator: a strong one, which the request for the rest names; empty where there is none.
        delimited: whether the response marks its end, so that a lost connection shows.
    """

    start: int
    total: int | None
    validator: str
    delimited: bool


def require_plain(status: int, encoding: str | None) -> None:
    """Check that a response of status 2xx is a file, or a part of one, as the server has it.

    Args:
        status: of the response.
        encoding: its `Content-Encoding`.

    Raises:
        ResponseError: it is not.
    """
    if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise ResponseError(f"the server responds {status}, which stands for another content or none")
    if (encoding := (encoding or "").strip().lower()) not in ("", "identity"):
        raise ResponseError(f"the server sends it encoded ({encoding[:40]}), which was not asked for")


def read_range(content_range: str | None) -> tuple[int, int, int | None] | None:
    """Return the first and last byte of a part, and the size of the file where `Content-Range` states it; or None."""
    found = CONTENT_RANGE.fullmatch((content_range or "").strip())
    return None if found is None else (int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3]))


def read_headers(status: int, headers: Message, resumed: Body | None) -> Body:
    """Check a response's status and headers.

    Args:
        status: of the response, 2xx.
        headers: its headers.
        resumed: what is there already, if the rest was asked for: `start` is how much.

    Raises:
        ChangedError: the rest was asked for, and something else came.
        ResponseError: this is not the file.
    """
    require_plain(status, headers.get("Content-Encoding"))
    chunked = headers.get("Transfer-Encoding", "").strip().lower()
    if chunked not in ("", "chunked"):
        raise ResponseError(f"the server sends it in the transfer encoding {chunked[:40]}, which was not asked for")
    length = _length(headers)
    if status == HTTPStatus.PARTIAL_CONTENT:
        if resumed is None:
            raise ResponseError("the server sent a part of the file (status 206) although the whole was requested")
        return _rest(headers, length, resumed)
    if headers.get("Content-Type", "").strip().lower().startswith("text/html"):
        raise ResponseError("the server sends a web page, not a file; open it in a browser")
    return Body(0, length, _strong_validator(headers), delimited=length is not None or bool(chunked))


def _length(headers: Message) -> int | None:
    """Return what Content-Length says; it may be repeated, with the same value (RFC 9112, section 6.3)."""
    stated = {value.strip() for line in headers.get_all("Content-Length", []) for value in line.split(",")}
    if not stated:
        return None
    if len(stated) > 1 or not LENGTH.fullmatch(value := stated.pop()):
        raise ResponseError("the server states no valid Content-Length")
    return int(value)


def _rest(headers: Message, length: int | None, resumed: Body) -> Body:
    part = read_range(headers.get("Content-Range"))
    if part is None or part[0] != resumed.start:
        raise ChangedError
    end = part[1] + 1
    sizes = {end, resumed.total or end, end if part[2] is None else part[2]}
    if length is not None:
        sizes.add(resumed.start + length)
    etag = headers.get("ETag", resumed.validator)
    if len(sizes) > 1 or (resumed.validator.startswith('"') and etag != resumed.validator):
        raise ChangedError
    return Body(resumed.start, end, resumed.validator, delimited=True)


def _strong_validator(headers: Message) -> str:
    """Return the ETag, unless it is weak; else the date of modification, where it identifies the content."""
    if (etag := headers.get("ETag", "").strip()).startswith('"'):
        return etag
    modified = headers.get("Last-Modified", "").strip()
    try:
        age = parsedate_to_datetime(headers.get("Date", "")) - parsedate_to_datetime(modified)
    except (ValueError, TypeError):
        return ""
    return modified if age.total_seconds() >= MODIFIED_BEFORE_S else ""


def require_content(head: bytes) -> None:
    """Check the beginning of a complete file.

    Raises:
        ResponseError: it is empty, or text that no format of checkpoints begins with.
    """
    if not head:
        raise ResponseError("the server sends an empty file")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if b"\0" in text:
        return
    for pattern, what in TEXTS:
        if pattern.match(text):
            raise ResponseError(f"the server sends {what}, not a file; open the address in a browser to see it")
