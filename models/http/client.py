"""GET over HTTPS: redirects within HTTPS, user and password for one origin only, and time limits on every read.

urllib opens the connection, because it takes proxies and certificates from the environment as other tools do.
"""

import functools
import http.client
import ipaddress
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from models.http.addresses import Address, redirected
from models.http.errors import ResponseError
from models.http.transfer import Meter

REDIRECTS = (301, 302, 303, 307, 308)
PRIVATE_REDIRECT = "it redirects to a private address, from a public one; if this is intended, give that address itself"
HEADERS = {"User-Agent": "c3d-export", "Accept-Encoding": "identity"}


def is_private(ip: str) -> bool:
    """Return whether an IP address is not of the public Internet: loopback, private, link-local, reserved."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    return not (getattr(address, "ipv4_mapped", None) or address).is_global


def open_url(address: Address, headers: Mapping[str, str], meter: Meter) -> http.client.HTTPResponse:
    """Send a GET request and return the open response to it, of any status 2xx, after redirects.

    Raises:
        ResponseError: a redirect leads to an address that is not allowed, or there are too many.
        urllib.error.HTTPError: another status.
        urllib.error.URLError, OSError, http.client.HTTPException: the connection failed.
    """
    route = _Route(meter)
    target = address
    for _ in range(meter.limits.redirects + 1):
        request = urllib.request.Request(target.url, headers={**HEADERS, **headers})  # noqa: S310 - https only
        if target.authorization is not None:
            request.add_header("Authorization", target.authorization)
        try:
            return route.opener.open(request, timeout=meter.limits.silence_s)
        except urllib.error.HTTPError as error:
            if error.code not in REDIRECTS:
                raise
            error.close()  # it is the open response as well
            location = error.headers.get("Location")
        target = redirected(target, location)
        route.is_redirect = True
    raise ResponseError(f"more than {meter.limits.redirects} redirects")


class _Route:
    """Opens the connections of one request and its redirects.

    Attributes:
        opener: of urllib, without its own handling of redirects.
        is_redirect: whether the next connection is a redirect's.
        from_public: whether one before it was to a public address, or through a proxy.
    """

    def __init__(self, meter: Meter) -> None:
        self.meter, self.is_redirect, self.from_public = meter, False, False
        self.opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            _Handler(self),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            self.opener.add_handler(handler)

    def connect(self, to: tuple[str, int], _timeout: object = None, _source: object = None) -> socket.socket:
        """Connect to the first address of a host that accepts, all of them within the limit."""
        failure: OSError = OSError("the host has no address")
        for family, kind, protocol, _, where in socket.getaddrinfo(*to, 0, socket.SOCK_STREAM):
            private = is_private(str(where[0]))
            if self.is_redirect and private and self.from_public:  # it would reach what the server cannot
                raise ResponseError(PRIVATE_REDIRECT)
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(self.meter.allowance())
                connection.connect(where)
            except TimeoutError:
                connection.close()
                raise
            except OSError as error:
                connection.close()
                failure = error
            else:
                self.from_public |= not private
                return connection
        raise failure


class _Handler(urllib.request.HTTPSHandler):
    def __init__(self, route: _Route) -> None:
        super().__init__()
        self._route = route
        self._context = ssl.create_default_context()
        self._context.sslsocket_class = _metered_socket(route.meter)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        proxied = req.host != urlsplit(req.full_url).netloc
        self._route.from_public |= proxied
        connection = functools.partial(_Connection, route=None if proxied else self._route, meter=self._route.meter)
        return self.do_open(connection, req, context=self._context)  # pyright: ignore[reportArgumentType] - a factory


class _Connection(http.client.HTTPSConnection):
    """A connection whose establishment and headers have time limits. Through a proxy (no route), the proxy connects."""

    def __init__(self, host: str, *, route: _Route | None, meter: Meter, **options: Any) -> None:
        super().__init__(host, **options)
        self._meter = meter
        if route is not None:
            self._create_connection = route.connect  # http.client's attribute to replace

    def connect(self) -> None:
        self._meter.connecting()
        try:
            super().connect()
        except TimeoutError:
            raise self._meter.timed_out() from None
        self._meter.awaiting_headers()


def _metered_socket(meter: Meter) -> type[ssl.SSLSocket]:
    class MeteredSocket(ssl.SSLSocket):
        """A socket on which every read has the time that the transfer's limits leave."""

        def recv_into(self, buffer, nbytes=None, flags=0):  # pyright: ignore - as ssl's, which has no types
            self.settimeout(meter.allowance())
            try:
                count = super().recv_into(buffer, nbytes, flags)
            except TimeoutError:
                raise meter.timed_out() from None
            meter.received(count)
            return count

    return MeteredSocket
