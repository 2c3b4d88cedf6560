"""HTTP for fsspec: time limits, redirects that stay in HTTPS, and only responses that are what was asked for.

aiohttp takes user and password of the address, or of `.netrc`, and sends them to no other origin; proxies are the
environment's.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from models.checkpoints.https import REDIRECTS
from models.checkpoints.transfer import LIMITS

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession

BLOCK_S = 300.0
"""Seconds for one block of a file."""
RANGE = re.compile(r"bytes=(\d+)-(\d+)")
RANGE_SENT = re.compile(r"bytes (\d{1,18})-(\d{1,18})/")


def is_http(url: str) -> bool:
    """Return whether a URL is fetched by this module's client."""
    return url.startswith(("http://", "https://"))


def http_settings(url: str, *, whole: bool = False) -> dict[str, Any]:
    """Return the settings of fsspec's file system for a URL: this module's client for HTTP, else none.

    Args:
        url: of any protocol.
        whole: whether a file is read in one response, whose time the reader limits, not in blocks.
    """
    return {"get_client": make_stream_client if whole else make_client} if is_http(url) else {}


async def make_client(**settings: Any) -> ClientSession:
    """Return an HTTP client; what fsspec's configuration states (`client_kwargs`) is kept."""
    return _make_client(BLOCK_S, settings)


async def make_stream_client(**settings: Any) -> ClientSession:
    """Return an HTTP client as `make_client` does, without a limit for a whole response."""
    return _make_client(None, settings)


def _make_client(total: float | None, settings: dict[str, Any]) -> ClientSession:
    from aiohttp import ClientSession, ClientTimeout

    usual: dict[str, Any] = {
        "timeout": ClientTimeout(total, sock_connect=LIMITS.connect_s, sock_read=LIMITS.silence_s),
        "trust_env": True,
        "auto_decompress": False,  # no encoding is asked for; what comes encoded is refused
    }
    middlewares = (*settings.pop("middlewares", ()), check_response)
    headers = {"Accept-Encoding": "identity"} | dict(settings.pop("headers", {}))
    return ClientSession(middlewares=middlewares, headers=headers, **(usual | settings))


async def check_response(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Send one request, and refuse a response that is not what was asked for; aiohttp calls it for each redirect too.

    Raises:
        aiohttp.ClientError: the message says why.
    """
    from aiohttp import ClientError

    async with asyncio.timeout(LIMITS.connect_s + LIMITS.headers_s):
        response = await handler(request)
    fault = _redirect_fault(request, response) if response.status in REDIRECTS else _body_fault(request, response)
    if fault is None:
        return response
    response.close()
    raise ClientError(fault)


def _redirect_fault(request: ClientRequest, response: ClientResponse) -> str | None:
    location = response.headers.get("Location")
    if not location:
        return "it redirects without saying where to"
    try:
        from yarl import URL

        target = request.url.join(URL(location))
    except ValueError:
        return "it redirects to a malformed address"
    if target.scheme not in (("https",) if request.url.scheme == "https" else ("http", "https")):
        return "it redirects to an address that is not https://"
    if target.user is not None and "@" in location:
        return "it redirects to an address with a user name"
    return None


def _body_fault(request: ClientRequest, response: ClientResponse) -> str | None:
    status, headers = response.status, response.headers
    if not 200 <= status < 300:  # fsspec reports it
        return None
    if status not in (200, 206):
        return f"the server responds {status}, which stands for another content or none"
    if (encoding := headers.get("Content-Encoding", "identity").strip().lower()) not in ("identity", ""):
        return f"the server sends it encoded ({encoding[:40]}), which was not asked for"
    if status == 206 and not _is_asked_part(request, response):
        return "the server sends another part of it than was asked for"
    return None


def _is_asked_part(request: ClientRequest, response: ClientResponse) -> bool:
    asked = RANGE.fullmatch(request.headers.get("Range", ""))
    sent = RANGE_SENT.match(response.headers.get("Content-Range", ""))
    if asked is None or sent is None:
        return False
    first, last = int(asked[1]), int(asked[2])
    return int(sent[1]) == first and int(sent[2]) <= last and (response.content_length or 0) <= last - first + 1
