"""No redirect from a public server reaches a private one: the address that counts is the one that a socket is connected to."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Generator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from exporter import storage
from exporter.errors import BadInputError
from exporter.remote import http

pytest.importorskip("aiohttp", reason="pip install 'c3d-export[remote]'")
CONTENT = bytes(range(256)) * 4
PUBLIC, PRIVATE, INTRANET = "127.0.0.1", "127.0.0.2", "127.0.0.3"


class Handler(BaseHTTPRequestHandler):
    """Keeps connections open; `/to?http://…` redirects."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    reached: list[tuple[str, int]]

    def do_GET(self) -> None:
        self.reached.append((str(self.request.getsockname()[0]), self.client_address[1]))
        target = self.path.partition("?")[2]
        self.send_response(302 if target else 200)
        if target:
            self.send_header("Location", target)
        self.send_header("Accept-Ranges", "none")
        self.send_header("Content-Length", "0" if target else str(len(CONTENT)))
        self.end_headers()
        if not target and self.command == "GET":
            self.wfile.write(CONTENT)

    do_HEAD = do_GET

    def log_message(self, *args: Any, **_: Any) -> None:
        """Print nothing."""


class Servers:
    """Servers of one port on three addresses.

    Attributes:
        port: the port.
        reached: (the address, the client's port) of each request.
    """

    def __init__(self, port: int, reached: list[tuple[str, int]]) -> None:
        self.port, self.reached = port, reached

    def url(self, host: str, *then: str) -> str:
        """Return the address of the file on a host; with more hosts, one that redirects from each to the next."""
        more = self.url(*then) if then else ""
        return f"http://{host}:{self.port}" + (f"/to?{more}" if more else "/file")


@contextlib.contextmanager
def serve() -> Generator[Servers]:
    handler = type("Recording", (Handler,), {"reached": []})
    first = ThreadingHTTPServer((PUBLIC, 0), handler)
    port = first.server_address[1]
    every = [first, *(ThreadingHTTPServer((host, port), handler) for host in (PRIVATE, INTRANET))]
    for one in every:
        threading.Thread(target=one.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield Servers(port, handler.reached)
    finally:
        for one in every:
            one.shutdown()
            one.server_close()


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    from fsspec.implementations.http import HTTPFileSystem

    monkeypatch.setattr(http, "is_private", {PRIVATE, INTRANET}.__contains__)
    HTTPFileSystem.clear_instance_cache()
    with serve() as running:
        yield running
    HTTPFileSystem.clear_instance_cache()


def refuse(url: str) -> None:
    with pytest.raises(BadInputError, match="redirects to a private address, from a public one"):
        storage.read_bytes(url)


@pytest.mark.parametrize("route", [(PUBLIC, PRIVATE), (INTRANET, PUBLIC, PRIVATE), (PUBLIC, PUBLIC, PRIVATE)])
def test_a_public_server_does_not_redirect_into_a_private_network(servers: Servers, route: tuple[str, ...]) -> None:
    """Nor does one that a private server leads to."""
    refuse(servers.url(*route))
    assert servers.reached
    assert PRIVATE not in [host for host, _ in servers.reached]


@pytest.mark.parametrize("route", [(PRIVATE,), (INTRANET, PRIVATE), (PUBLIC, PUBLIC), (PRIVATE, PUBLIC)])
def test_other_redirects_are_followed(servers: Servers, route: tuple[str, ...]) -> None:
    assert storage.read_bytes(servers.url(*route)) == CONTENT


def test_an_open_connection_to_a_private_server_takes_no_redirect_from_a_public_one(servers: Servers) -> None:
    """The user named the private server before, so that a connection to it is in the pool."""
    assert storage.read_bytes(servers.url(PRIVATE)) == CONTENT
    refuse(servers.url(PUBLIC, PRIVATE))
    before = len(servers.reached)
    assert storage.read_bytes(servers.url(PRIVATE)) == CONTENT
    assert {host for host, _ in servers.reached[before:]} == {PRIVATE}


def test_a_name_that_resolves_to_another_address_each_time(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: public while it redirects to itself, private when that is followed."""
    answers = iter([PUBLIC, PRIVATE, PRIVATE])
    asked: list[str] = []

    async def look_up(_self: object, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", look_up)
    refuse(servers.url("one.test", "two.test"))
    assert asked[:2] == ["one.test", "two.test"]
    assert {host for host, _ in servers.reached} == {PUBLIC}


def test_a_connection_that_is_lost_at_once_is_an_error_of_the_network(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio then has no address of the other side (None)."""
    monkeypatch.setattr(f"{asyncio.__name__}.selector_events._SelectorTransport.get_extra_info", lambda *_: None)
    with pytest.raises(BadInputError):
        storage.read_bytes(servers.url(PUBLIC))


def test_a_request_of_the_same_task_that_was_not_redirected_decides_nothing(servers: Servers) -> None:
    """The user may name a public server and then a private one. Connections are used again."""

    async def get(*urls: str) -> None:
        async with await http.make_client() as client:
            for url in urls:
                async with client.get(url) as response:
                    assert await response.read() == CONTENT

    asyncio.run(get(servers.url(PUBLIC), servers.url(PRIVATE), servers.url(PUBLIC, PUBLIC), servers.url(INTRANET)))
    assert [host for host, _ in servers.reached] == [PUBLIC, PRIVATE, PUBLIC, PUBLIC, INTRANET]
    assert len({client for host, client in servers.reached if host == PUBLIC}) == 1


def test_what_a_proxy_fetches_does_not_redirect_to_a_private_server_beside_it(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the proxy knows where the server is; the redirect would be followed from here."""
    monkeypatch.setenv("http_proxy", f"http://{INTRANET}:{servers.port}")
    monkeypatch.setenv("no_proxy", PRIVATE)
    refuse(servers.url("public.test", PRIVATE))
    assert {host for host, _ in servers.reached} == {INTRANET}
