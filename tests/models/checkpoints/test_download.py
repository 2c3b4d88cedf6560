"""Whatever a server does, a download ends in bounded time with the file or one line, and no secret leaves."""

import base64
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.scripted_server import Reply, Script, chunked, response, serve_script

from models.checkpoints import download, https
from models.checkpoints.sources import resolve
from models.checkpoints.transfer import LIMITS
from models.errors import CheckpointError
from models.progress import no_progress

CONTENT = bytes(range(256)) * 100
ETAG = 'ETag: "one"'
FAST = replace(
    LIMITS, connect_s=0.5, headers_s=0.2, silence_s=0.15, window_s=0.3, base_s=0.4, bytes_per_s=1e6, unannounced_s=0.4
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    script = Script([response(CONTENT)])
    with serve_script(script, tmp_path) as trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        monkeypatch.setenv("C3D_EXPORT_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        yield script


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


def test_user_and_password_reach_the_server_and_not_the_resolver(
    server: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    lookup = https.socket.getaddrinfo

    def record(*arguments: object) -> object:
        asked.append(arguments[0])
        return lookup(*arguments)  # pyright: ignore

    monkeypatch.setattr(https.socket, "getaddrinfo", record)
    reported: list[str] = []
    address = server.address.replace("//", "//user:p%40ss@")
    found = resolve(f"{address}/c3d.pth?token=s3cret", reported.append)
    sent = header(server.requests[0], "Authorization") or ""
    assert base64.b64decode(sent.removeprefix("Basic ")) == b"user:p@ss"
    assert asked == ["localhost"]
    cached = b"".join(path.read_bytes() for path in (tmp_path / "cache").rglob("*.json"))
    every = [*reported, *found.notes, str(found.path), str(found.url), repr(found), cached.decode()]
    assert not any(secret in text for text in every for secret in ("p%40ss", "p@ss", "user:", "s3cret", sent))


def test_the_password_follows_a_redirect_within_the_origin_only(server: Script) -> None:
    server.replies = [redirect("/b"), redirect(f"{server.other}/c"), response(CONTENT)]
    resolve(server.address.replace("//", "//user:pw@") + "/a", no_progress)
    assert [header(request, "Authorization") is not None for request in server.requests] == [True, True, False]


def test_netrc_gives_the_password(server: Script, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine localhost login user password p@ss\n")
    (tmp_path / "netrc").chmod(0o600)
    resolve(f"{server.address}/a", no_progress)
    assert header(server.requests[0], "Authorization") == "Basic " + base64.b64encode(b"user:p@ss").decode()


def test_an_international_host_and_path(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = https.socket.getaddrinfo
    monkeypatch.setattr(https.socket, "getaddrinfo", lambda _host, *more: lookup("127.0.0.1", *more))  # pyright: ignore
    address = server.address.replace("localhost", "bücher.localhost")
    found = resolve(f"{address}/gewichte für/c3d.pth?q=ä b", no_progress)
    assert server.requests[0].startswith("GET /gewichte%20f%C3%BCr/c3d.pth?q=%C3%A4%20b HTTP/1.1\r\n")
    assert (header(server.requests[0], "Host") or "").startswith("xn--bcher-kva.localhost:")
    assert found.url == f"{address}/gewichte für/c3d.pth"


def drip(data: bytes, every_s: float) -> Reply:
    return itertools.chain.from_iterable((data[i : i + 1], every_s) for i in range(len(data)))


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(CONTENT) + ETAG.encode() + b"\r\n\r\n"
FLOOD = b"x" * 65_000


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ([3.0], "nothing arrived for 0.15 s"),
        (drip(HEAD, 0.02), "no complete response headers within 0.2 s"),
        ([b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 200], "more than 100 headers"),
        ([b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 70_000], "header line"),
        (itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"), "no complete response headers|bytes beside the file"),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\n"], "responds 103"),
        ([b"\x16\x03\x01 not HTTP\r\n\r\n"], "the download failed"),
        ([], "the download failed"),
    ],
    ids=["silent", "slow headers", "many headers", "long header", "endless 100", "103", "not HTTP", "closed"],
)
def test_a_response_that_does_not_begin(
    server: Script, reply: Reply, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "LIMITS", FAST)
    server.replies = [reply]
    began = time.monotonic()
    refuse(f"{server.address}/c3d.pth", reason)
    assert time.monotonic() - began < 2


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda _: itertools.chain([HEAD], drip(CONTENT, 0.05)), r"slower than 1 kB/s over 0\.3 s.*run it again"),
        (lambda _: [HEAD, CONTENT[:500], 3.0], r"nothing arrived for 0\.15 s.*run it again to resume"),
        (lambda _: itertools.chain([CHUNKED], itertools.cycle([chunked(FLOOD), 0.01])), "not complete after 0 s"),
        (
            lambda _: itertools.chain(
                [CHUNKED + chunked(b"x") + b"0\r\n"],
                itertools.repeat(b"X: " + FLOOD + b"\r\n"),
            ),
            "bytes beside the file",
        ),
    ],
    ids=["slow", "stalls", "endless chunks", "endless trailers"],
)
def test_a_body_that_does_not_end(
    server: Script, reply: Callable[[str], Reply], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "LIMITS", FAST)
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.replies = [reply]
    began = time.monotonic()
    refuse(f"{server.address}/c3d.pth", reason)
    assert time.monotonic() - began < 2
