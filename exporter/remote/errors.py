"""What fsspec raises, as one line without secrets.

fsspec's file systems share no base class of errors: a missing object, rejected credentials and a broken connection come
as whatever the protocol's library raises, often with the URL in the message.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from exporter.errors import BadInputError, C3DExportError, UnavailableError
from models.errors import install_command
from models.http.addresses import redact
from models.http.errors import SlowError

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
MIN_SECRET = 3
"""A shorter word of a query is no secret, and would be found in any message."""


def cause(error: BaseException, url: str) -> BaseException | None:
    """Return an error as the cause of the translated one; None if its message, in a traceback, may hold a secret."""
    return None if _secrets(url) else error


@contextlib.contextmanager
def translate(url: str, what: str, error: type[BadInputError]) -> Generator[None]:
    """Raise `error` with one line for whatever fsspec raises in the block.

    Args:
        url: what the block is about.
        what: what failed, for the message: `cannot be read`; may be empty.
        error: the class to raise.
    """
    try:
        yield
    except C3DExportError:
        raise
    except ImportError as missing:
        raise UnavailableError(f"{redact(url)}: {_missing(missing, url)}") from missing
    except Exception as failure:  # noqa: BLE001 - the libraries' exceptions share no base class
        reason = f"{what}: {describe(failure, url)}" if what else describe(failure, url)
        raise error(f"{redact(url)}: {reason}") from cause(failure, url)


def _missing(error: ImportError, url: str) -> str:
    """Return how to install a protocol's library; what the library says itself where it is not known which."""
    first = error.__cause__
    name = (first.name if isinstance(first, ImportError) else None) or error.name
    if not name:
        return f"its protocol's library cannot be imported: {describe(error, url)}"
    library = name.partition(".")[0]
    command = install_command("remote") if library in ("aiohttp", "requests") else f"pip install {library}"
    return f"{library} is not installed; {command}"


def describe(error: BaseException, url: str) -> str:
    """Return why an operation failed, in one line without secrets."""
    if isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__  # fsspec reports any failure of HTTP's first request as a missing file
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status == 404:
        return "there is no such file"
    if isinstance(error, PermissionError) or status in (401, 403) or "credential" in type(error).__name__.lower():
        return "access is denied; check that the credentials of its protocol are set, and what they allow"
    if isinstance(error, TimeoutError):
        return f"{str(error) if isinstance(error, SlowError) else 'the server does not respond in time'}; run it again"
    if isinstance(status, int):
        return f"the server responds {status} {str(getattr(error, 'message', ''))[:80]}".rstrip()
    text = " ".join(str(error).split()) or type(error).__name__
    return _without_secrets(text, url)[:300]


def _without_secrets(text: str, url: str) -> str:
    """Return a library's message without user, password and query of any URL, and of this one in pieces."""
    text = URL.sub(lambda found: redact(found[0]), text)
    for secret in _secrets(url):
        text = text.replace(secret, "…")
    return text


def _secrets(url: str) -> list[str]:
    """Return user, password and the values of the query, as given and decoded, longest first."""
    try:
        parts = urlsplit(url)
        pieces = [*parts.netloc.rpartition("@")[0].split(":"), *(value for _, value in parse_qsl(parts.query))]
    except ValueError:
        pieces = [url]
    found = {form for piece in pieces for form in (piece, unquote(piece), quote(piece, safe=""))}
    return sorted((piece for piece in found if len(piece) >= MIN_SECRET), key=len, reverse=True)
