"""Files over HTTP: bounded in time, whole, from where they were asked, and without a secret in any message."""

import base64
import gc
import itertools
import os
import ssl
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.downloads import header
from helpers.scripted_server import Reply, Script, chunked, response

from exporter import storage
from exporter.errors import BadInputError
from exporter.remote import files, http
from models.http.transfer import LIMITS, Limits

pytest.importorskip("aiohttp", reason="pip install 'c3d-export[remote]'")
CONTENT = bytes(range(256)) * 100
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT)
NO_RANGES = HEAD.replace(b"Content", b"Accept-Ranges: none\r\nContent")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FAST = replace(LIMITS, silence_s=0.4, window_s=0.3, base_s=0.5, bytes_per_s=1e6, unannounced_s=0.2)


@pytest.fixture
def server(running: tuple[Script, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    """A server that is trusted."""
    import aiohttp.connector
    from fsspec.implementations.http import HTTPFileSystem

    script, trusted = running
    script.replies, script.requests = [], []
    (tmp_path / "netrc").touch()
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", ssl.create_default_context(cafile=trusted))
    HTTPFileSystem.clear_instance_cache()
    yield script
    HTTPFileSystem.clear_instance_cache()


def limit(patch: pytest.MonkeyPatch, limits: Limits, block_s: float) -> None:
    """Set the limits of clients that are made later."""
    patch.setattr(http, "LIMITS", limits)
    patch.setattr(files, "LIMITS", limits)
    patch.setattr(http, "BLOCK_S", block_s)


def part(request: str, content: bytes = CONTENT) -> Reply:
    """Return the part that a request asks for."""
    asked = header(request, "Range")
    if request.startswith("HEAD"):
        return [HEAD]
    if asked is None:
        return [HEAD + content]
    first, last = map(int, asked.removeprefix("bytes=").split("-"))
    body = content[first : last + 1]
    return response(body, "206 Partial Content", f"Content-Range: bytes {first}-{first + len(body) - 1}/{len(content)}")


def refuse(address: str, match: str) -> str:
    began = time.monotonic()
    with pytest.raises(BadInputError, match=match) as caught:
        storage.read_bytes(address)
    assert time.monotonic() - began < 3
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_read_with_a_password_that_stays_in_its_origin(server: Script) -> None:
    server.replies = [lambda _: response(b"", "302 Found", f"Location: {server.other}/b"), part]
    assert storage.read_bytes(server.address.replace("//", "//user:p%40ss@") + "/a?token=s3cret") == CONTENT
    sent = [header(request, "Authorization") for request in server.requests]
    assert sent[0] == "Basic " + base64.b64encode(b"user:p@ss").decode()
    assert sent[1] is None
    assert {header(request, "Accept-Encoding") for request in server.requests} == {"identity"}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ([b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 70_000], "cannot be read"),
        (response(b"", "302 Found", "Location: http://localhost/a"), "not https://"),
        (response(b"", "302 Found", "Location: file:///etc/passwd"), "not https://"),
        (response(b"", "302 Found", "Location: https://user:s3cret@localhost/"), "redirects to an address with a"),
        (response(b"", "302 Found", "Location: https://other\\@localhost/"), "redirects to an address with a"),
        (response(b"", "302 Found", "Location: /a\x85b"), "control characters"),
        (response(b"", "302 Found"), "without saying where to"),
        (response(b"", "302 Found", "Location: https://["), "malformed"),
        (response(b"", "302 Found", "Location: /again"), "cannot be read"),
        (response(CONTENT, "200 OK", "Content-Encoding: br"), r"encoded \(br\)"),
        (response(CONTENT, "203 Non-Authoritative Information"), "responds 203"),
        (response(CONTENT, "206 Partial Content"), "another part"),
        (response(b"", "500 \x1b[2J" + "x" * 500), "responds 500"),
    ],
)
def test_a_response_that_is_not_the_file(server: Script, reply: Reply, reason: str) -> None:
    server.replies = [reply]
    message = refuse(server.address.replace("//", "//user:p%40ss@") + "/a?token=s3cret", reason)
    assert len(message) < 400
    assert not any(secret in message for secret in ("p%40ss", "p@ss", "s3cret"))


def more_than_asked(request: str) -> Reply:
    if request.startswith("HEAD"):
        return [HEAD]
    asked = (header(request, "Range") or "").removeprefix("bytes=")
    length = f"Content-Length: {int(asked.partition('-')[2]) + 2}"
    return response(CONTENT, "206 Partial Content", f"Content-Range: bytes {asked}/*", length, length=False)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (more_than_asked, "another part"),
        (lambda request: part(request, CONTENT[:-1000]), "the server sends 24 of 1024 bytes at 24576"),
        (lambda request: [HEAD] if request[0] == "H" else response(b"", "206 Partial Content"), "another part"),
        (
            lambda request: [HEAD] if request[0] == "H" else response(b"x", "206 OK", "Content-Range: bytes 5-5/25600"),
            "another part",
        ),
        (lambda request: [HEAD] if request[0] == "H" else [HEAD, CONTENT[:99]], "cannot be read"),
    ],
)  # fmt: skip
def test_a_part_that_is_not_the_one_asked_for(server: Script, reply: Callable[[str], Reply], reason: str) -> None:
    server.replies = [reply]
    refuse(f"{server.address}/a", reason)


@pytest.mark.parametrize(
    "reply",
    [
        lambda _: [3.0],
        lambda _: itertools.chain.from_iterable((HEAD[i : i + 1], 0.05) for i in range(len(HEAD))),
        lambda request: [HEAD] if request[0] == "H" else [HEAD, CONTENT[:99], 3.0],
    ],
)
def test_a_block_has_a_time(server: Script, reply: Callable[[str], Reply], monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, LIMITS, 0.15)
    server.replies = [reply]
    refuse(f"{server.address}/a", "does not respond in time; run it again")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            lambda: itertools.chain([HEAD], itertools.cycle([b"x", 0.02])),
            r"slower than 1 kB/s over 0\.3 s; run it again",
        ),
        (
            lambda: itertools.chain(
                [CHUNKED],
                itertools.cycle([chunked(b"x" * 1000), 0.01]),
            ),
            "the server sends more than 25600 bytes",
        ),
        (lambda: response(CONTENT[:99]), "the server sends 99 of 25600 bytes"),
    ],
)
def test_a_whole_file_that_does_not_end(
    server: Script, body: Callable[[], Reply], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, FAST, 30)
    server.replies = [lambda request: [NO_RANGES] if request.startswith("HEAD") else body()]
    refuse(f"{server.address}/a", reason)


def test_a_file_of_unknown_size_that_does_not_end(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, FAST, 30)
    endless = chunked(b"x" * 1000)
    server.replies = [lambda _: itertools.chain([CHUNKED], itertools.cycle([endless, 0.01]))]
    refuse(f"{server.address}/a", "not complete after 0 s")


def test_headers_of_a_whole_file_that_do_not_end(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, replace(LIMITS, connect_s=0.2, headers_s=0.1), 30)
    replies = iter([[NO_RANGES]] * 4)  # for its size, its stream, and twice for its size
    server.replies = [
        lambda _: next(replies, None) or itertools.chain.from_iterable((HEAD[i : i + 1], 0.05) for i in range(50))
    ]
    refuse(f"{server.address}/a", "does not respond in time")
    assert len(server.requests) == 5


def test_a_server_without_ranges_or_sizes_serves_seekable_files(server: Script) -> None:
    for reply in (
        [NO_RANGES + CONTENT],
        [CHUNKED + chunked(CONTENT, b"")],
    ):
        server.replies = [reply]
        with storage.open_input(f"{server.address}/a") as stream:
            stream.seek(-5, os.SEEK_END)
            assert stream.read() == CONTENT[-5:]


def test_a_traceback_and_the_log_hold_no_secret(server: Script, capfd: pytest.CaptureFixture[str]) -> None:
    server.replies = [response(b"", "404 Not Found")]
    address = server.address.replace("//", "//user:p%40ss@") + "/a?token=s3cret"
    for use in (storage.read_bytes, storage.list_files):
        with pytest.raises(BadInputError) as caught:
            use(address)
        shown = "".join(traceback.format_exception(caught.value))
        assert "s3cret" not in shown
        assert "p%40ss" not in shown
    gc.collect()
    assert "s3cret" not in capfd.readouterr().err


def test_a_lookup_says_why_it_failed(server: Script) -> None:
    server.replies = [response(b"", "404 Not Found")]
    assert not storage.exists(f"{server.address}/a")
    server.replies = [response(b"", "503 Busy")]
    with pytest.raises(BadInputError, match="responds 503"):
        storage.exists(f"{server.address}/a")
