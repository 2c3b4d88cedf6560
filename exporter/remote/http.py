"""HTTP for fsspec: time limits, redirects that stay in HTTPS, and only responses that are what was asked for.

aiohttp takes user and password of the address, or of `.netrc`, and sends them to no other origin; proxies are the
environment's.
"""

from __future__ import annotations

import asyncio
import errno
import os
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
    from aiohttp import (
        ClientHandlerType,
        ClientRequest,
        ClientResponse,
        ClientSession,
        ClientTimeout,
        TCPConnector,
    )
    from aiohttp.connector import Connection

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
    from aiohttp import ClientSession, ClientTimeout

    usual: dict[str, Any] = {
        "timeout": ClientTimeout(total, sock_connect=LIMITS.connect_s, sock_read=LIMITS.silence_s),
        "connector": settings.get("connector") or _make_connector(),
        "trust_env": True,
        "auto_decompress": False,  # no encoding is asked for; what comes encoded is refused
    }
    middlewares = (*settings.pop("middlewares", ()), _check_response)
    headers = HEADERS | dict(settings.pop("headers", {}))
    return ClientSession(middlewares=middlewares, headers=headers, **(usual | settings))


@dataclass
class _Request:
    """A request that is under way.

    Attributes:
        from_public: whether a redirect from a public address, or from behind a proxy, led to it.
        proxied: whether a proxy makes its connection, where only the proxy knows the address.
        is_public: whether its own connection is to a public address, or through a proxy.
        redirects: whether its response is a redirect.
    """

    from_public: bool
    proxied: bool
    is_public: bool = False
    redirects: bool = False

    def check_peer(self, ip: str) -> None:
        """Refuse a connection to this address where the server that led here could not reach it.

        Raises:
            OSError: it is private, and a redirect from a public address led to it.
        """
        self.is_public = self.proxied or not is_private(ip)
        if self.from_public and not self.is_public:
            raise OSError(errno.ENETUNREACH, PRIVATE_REDIRECT)


_CURRENT: ContextVar[_Request | None] = ContextVar("request", default=None)


def _make_connector() -> TCPConnector:
    """Return a connector that checks the address of each connection, a new one's and that of one from the pool.

    It is the address that the socket is connected to: a name may resolve to another one each time it is looked up.
    """
    from aiohttp import TCPConnector

    class Connector(TCPConnector):
        async def connect(self, req: ClientRequest, traces: list[Any], timeout: ClientTimeout) -> Connection:
            connection = await super().connect(req, traces, timeout)
            current, transport = _CURRENT.get(), connection.transport
            if current is not None and transport is not None:
                try:
                    if (peer := transport.get_extra_info("peername")) is None:  # lost before its address was asked for
                        raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
                    current.check_peer(str(peer[0]))
                except OSError:
                    connection.close()
                    raise
            return connection

    return Connector(socket_factory=_make_socket)


def _make_socket(address: tuple[Any, ...]) -> socket.socket:
    """Return a socket that is going to be connected to an address; raises OSError where it must not be."""
    family, kind, protocol, _, where = address
    if (current := _CURRENT.get()) is not None:
        current.check_peer(str(where[0]))
    return socket.socket(family, kind, protocol)


async def _check_response(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Send one request and check its response; aiohttp calls it for each redirect too.

    Raises:
        aiohttp.ClientError: the message says why it is refused.
    """
    from aiohttp import ClientError

    before = _CURRENT.get()
    from_public = before is not None and before.redirects and (before.from_public or before.is_public)
    current = _Request(from_public, request.proxy is not None)
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


def _is_asked_part(request: ClientRequest, response: ClientResponse) -> bool:
    asked = RANGE.fullmatch(request.headers.get("Range", ""))
    sent = read_range(response.headers.get("Content-Range"))
    if asked is None or sent is None:
        return False
    first, last = int(asked[1]), int(asked[2])
    return sent[0] == first and sent[1] <= last and (response.content_length or 0) <= last - first + 1
