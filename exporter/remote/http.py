"""HTTP for fsspec: time limits, redirects that stay in HTTPS, and only responses that are what was asked for.

aiohttp takes user and password of the address, or of `.netrc`, and sends them to no other origin; proxies are the
environment's.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.http.addresses import redirect_target
from models.http.bodies import read_range, require_plain
from models.http.client import HEADERS, PRIVATE_REDIRECT, REDIRECTS, is_private
from models.http.errors import ResponseError
from models.http.transfer import LIMITS

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession

BLOCK_S = 300.0
"""Seconds for one block of a file."""
RANGE = re.compile(r"bytes=(\d+)-(\d+)")


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
    from aiohttp import ClientSession, ClientTimeout, TCPConnector

    guard = _Guard()
    usual: dict[str, Any] = {
        "timeout": ClientTimeout(total, sock_connect=LIMITS.connect_s, sock_read=LIMITS.silence_s),
        "connector": settings.get("connector") or TCPConnector(socket_factory=guard.make_socket),
        "trust_env": True,
        "auto_decompress": False,  # no encoding is asked for; what comes encoded is refused
    }
    middlewares = (*settings.pop("middlewares", ()), guard.check_response)
    headers = HEADERS | dict(settings.pop("headers", {}))
    return ClientSession(middlewares=middlewares, headers=headers, **(usual | settings))


@dataclass
class _Request:
    """A request that is under way.

    Attributes:
        first: origin of the request that redirects led from, if any.
        origin: its own origin.
        is_redirect: whether a redirect led to it.
        redirects: whether its response is a redirect.
    """

    first: str
    origin: str
    is_redirect: bool
    redirects: bool = False


_CURRENT: ContextVar[_Request | None] = ContextVar("request", default=None)


class _Guard:
    """Refuses responses of one client that are not what was asked for, and where redirects must not lead."""

    def __init__(self) -> None:
        self._private: dict[str, bool] = {}  # {origin: whether all its addresses are private, as far as known}

    async def check_response(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send one request and check its response; aiohttp calls it for each redirect too.

        Raises:
            aiohttp.ClientError: the message says why it is refused.
        """
        from aiohttp import ClientError

        before, origin = _CURRENT.get(), str(request.url.origin())
        led = before if before is not None and before.redirects else None
        current = _Request(origin if led is None else led.first, origin, led is not None)
        _CURRENT.set(current)
        async with asyncio.timeout(LIMITS.connect_s + LIMITS.headers_s):
            response = await handler(request)
        try:
            if response.status in REDIRECTS:
                redirect_target(str(request.url.with_user(None)), response.headers.get("Location"))
                current.redirects = True
            elif 200 <= response.status < 300:  # fsspec reports other ones
                require_plain(response.status, response.headers.get("Content-Encoding"))
                if response.status == 206 and not _is_asked_part(request, response):
                    raise ResponseError("the server sends another part of it than was asked for")
        except ResponseError as error:
            response.close()
            raise ClientError(str(error)) from None
        return response

    def make_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Return a socket that is going to be connected to an address; raises OSError where it must not be."""
        family, kind, protocol, _, where = address
        private, current = is_private(str(where[0])), _CURRENT.get()
        if current is not None:
            if current.is_redirect and private and not self._private.get(current.first, False):
                raise OSError(errno.ENETUNREACH, PRIVATE_REDIRECT)
            self._private[current.origin] = private and self._private.get(current.origin, True)
        return socket.socket(family, kind, protocol)


def _is_asked_part(request: ClientRequest, response: ClientResponse) -> bool:
    asked = RANGE.fullmatch(request.headers.get("Range", ""))
    sent = read_range(response.headers.get("Content-Range"))
    if asked is None or sent is None:
        return False
    first, last = int(asked[1]), int(asked[2])
    return sent[0] == first and sent[1] <= last and (response.content_length or 0) <= last - first + 1
