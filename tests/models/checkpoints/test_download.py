"""Whatever a server does, a download ends in bounded time with the file or one line, and no secret leaves."""

import base64
import hashlib
import itertools
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.checkpoints import narrow_state
from helpers.run import BIN, call
from helpers.scripted_server import Reply, Script, chunked, response, serve_script

from models.checkpoints import download, https
from models.checkpoints.checkpoint import read_raw
from models.checkpoints.sources import resolve
from models.checkpoints.transfer import LIMITS
from models.errors import CheckpointError
from models.progress import no_progress

CONTENT = bytes(range(256)) * 100
ETAG = 'ETag: "one"'
FAST = replace(
    LIMITS, connect_s=5.0, headers_s=0.2, silence_s=0.3, window_s=0.3, base_s=0.4, bytes_per_s=1e6, unannounced_s=0.4
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Script, Path]]:
    script = Script([])
    with serve_script(script, tmp_path_factory.mktemp("server")) as trusted:
        yield script, trusted


@pytest.fixture
def server(running: tuple[Script, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    script, trusted = running
    script.replies, script.requests = [response(CONTENT)], []
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    monkeypatch.setenv("C3D_EXPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return script


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
        ([3.0], "no complete response headers within 0.2 s"),
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
        (lambda _: [HEAD, CONTENT[:500], 3.0], r"nothing arrived for 0\.3 s.*run it again to resume"),
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


def test_a_large_file_has_more_time(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LIMITS", replace(FAST, bytes_per_s=10_000, unannounced_s=0.1))
    pieces = (CONTENT[i : i + 2560] for i in range(0, len(CONTENT), 2560))
    server.replies = [[HEAD, *itertools.chain.from_iterable((piece, 0.02) for piece in pieces)]]
    assert resolve(f"{server.address}/c3d.pth", no_progress).path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (response(b""), "an empty file"),
        (response(b"<!DOCTYPE html><title>Log in"), "a web page"),
        (response(CONTENT, "200 OK", "Content-Encoding: gzip"), r"encoded \(gzip\)"),
        (response(CONTENT, "206 Partial Content", f"Content-Range: bytes 0-9/{len(CONTENT)}"), "was not asked for"),
        (response(b"", "204 No Content", length=False), "responds 204"),
        (response(CONTENT, "200 OK", "Content-Length: 5", "Content-Length: 6", length=False), "Content-Length"),
        (response(CONTENT, length=False), "does not say where the file ends.*#sha256="),
        ([b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT], "does not say where the file ends"),
        (response(CONTENT, "200 OK", "Content-Length: 99999", length=False), "broke off after 25600 of 99999"),
        ([CHUNKED + chunked(CONTENT)], "IncompleteRead"),
        (
            [CHUNKED.replace(b"Tr", b"Content-Length: 5\r\nTr") + chunked(CONTENT) + b"0\r\n\r\n"],
            "it has 25600 of 5 bytes",
        ),
        (response(b"", "404 Not Found", length=False), "responds 404 Not Found"),
        (response(b"", "401 Unauthorized"), "give user and password in the address or in ~/.netrc"),
        (response(b"", "302 Found"), "redirects without saying where to"),
        (redirect("http://localhost/c3d.pth"), "redirects to an address that is not https"),
        (redirect("/c3d.pth#x"), "more than 10 redirects"),
        (lambda request: redirect(f"{request.split()[1]}0", "308 Permanent Redirect"), "more than 10 redirects"),
        (redirect("https://localhost/\x01", "307 Temporary Redirect"), "control characters"),
        (response(b"", "300 Multiple Choices", "Location: /b"), "responds 300"),
    ],
)
def test_what_is_no_file_leaves_nothing(
    server: Script, tmp_path: Path, reply: Reply, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.replies = [reply]
    refuse(f"{server.address}/c3d.pth", reason)
    assert not [name for name in files(tmp_path) if name in ("c3d.pth", "record.json")]
    server.replies = [response(CONTENT)]
    assert resolve(f"{server.address}/c3d.pth", no_progress).path.read_bytes() == CONTENT


def test_a_hash_allows_a_body_without_an_end(server: Script) -> None:
    server.replies = [[b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT]]
    found = resolve(f"{server.address}/c3d.pth#sha256={hashlib.sha256(CONTENT).hexdigest()}", no_progress)
    assert found.path.read_bytes() == CONTENT


def rest(first: int, *headers: str, content: bytes = CONTENT) -> Reply:
    last = len(content) - 1
    return response(content[first:], "206 Partial Content", f"Content-Range: bytes {first}-{last}/{last + 1}", *headers)


@pytest.mark.parametrize(
    ("validator", "second", "asked"),
    [
        (ETAG, rest(500, ETAG), ["bytes=500-"]),
        (ETAG, response(CONTENT, "200 OK", ETAG), ["bytes=500-"]),  # the server ignores Range
        (ETAG, rest(400, ETAG), ["bytes=500-", None]),  # another part
        (ETAG, rest(500, 'ETag: "two"'), ["bytes=500-", None]),  # another file
        (ETAG, response(b"", "416 Range Not Satisfiable"), ["bytes=500-", None]),
        (ETAG, response(b"--x", "206 Partial Content", "Content-Type: multipart/byteranges; boundary=x"),
         ["bytes=500-", None]),
        ('ETag: W/"one"', response(CONTENT), [None]),  # a weak validator may hide a change
        ("X: y", response(CONTENT), [None]),
    ],
)  # fmt: skip
def test_a_resumed_file_is_the_one_that_was_begun(
    server: Script, validator: str, second: Reply, asked: list[str | None]
) -> None:
    broken = response(CONTENT[:500], "200 OK", validator, f"Content-Length: {len(CONTENT)}", length=False)
    server.replies = [broken, second, response(CONTENT, "200 OK", ETAG)]
    assert resolve(f"{server.address}/c3d.pth", no_progress).path.read_bytes() == CONTENT
    assert [header(request, "Range") for request in server.requests] == [None, *asked]


def test_a_file_that_changes_all_the_time_is_given_up(server: Script) -> None:
    broken = response(CONTENT[:500], "200 OK", ETAG, f"Content-Length: {len(CONTENT)}", length=False)
    server.replies = [broken, rest(400), broken, rest(400)]
    refuse(f"{server.address}/c3d.pth", "the file changes while it is downloaded")


def test_a_public_server_does_not_redirect_into_a_private_network(
    server: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.replies = [redirect(server.other), response(CONTENT)]
    monkeypatch.setattr(https, "is_private", lambda ip: ip == "127.0.0.2")  # pyright: ignore
    to_private = server.other.replace("127.0.0.1", "127.0.0.2")
    server.replies = [redirect(f"{to_private}/c3d.pth"), response(CONTENT)]
    refuse(f"{server.address}/c3d.pth", "redirects to a private address, from a public one")
    assert len(server.requests) == 1
    monkeypatch.setattr(https, "is_private", lambda _ip: True)  # pyright: ignore
    server.replies = [redirect("/x"), redirect(f"{server.other}/c3d.pth"), response(CONTENT)]
    assert resolve(f"{server.address}/c3d.pth", no_progress).path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("ip", "private"),
    [
        ("93.184.215.14", False),
        ("2606:2800:21f::1", False),
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("192.168.1.1", True),
        ("169.254.169.254", True),
        ("100.64.0.1", True),
        ("0.0.0.0", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        ("fd00::1", True),
        ("::ffff:10.0.0.1", True),
        ("::ffff:93.184.215.14", False),
    ],
)
def test_private_addresses(ip: str, private: bool) -> None:
    assert https.is_private(ip) is private


@contextmanager
def proxy(asked: list[str]) -> Generator[str]:
    """A proxy that connects to 127.0.0.1, whatever host is named."""

    def pipe(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        client, _ = listening.accept()
        with client:
            asked.append(client.recv(65536).decode())
            port = int(asked[0].split()[1].rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as target:
                client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                back = threading.Thread(target=pipe, args=(target, client))
                back.start()
                pipe(client, target)
                back.join()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://proxyuser:proxypw@127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def test_a_proxy_sees_the_host_and_not_the_password(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    with proxy(asked) as address:
        monkeypatch.setenv("https_proxy", address)
        monkeypatch.setenv("no_proxy", "")
        found = resolve(server.address.replace("//", "//user:pw@") + "/c3d.pth?token=s3cret", no_progress)
    assert found.path.read_bytes() == CONTENT
    assert asked[0].startswith(f"CONNECT {server.address.removeprefix('https://')} HTTP/1")
    assert header(asked[0], "Proxy-Authorization") == "Basic " + base64.b64encode(b"proxyuser:proxypw").decode()
    assert "s3cret" not in asked[0]
    assert header(server.requests[0], "Authorization") == "Basic " + base64.b64encode(b"user:pw").decode()
    assert header(server.requests[0], "Proxy-Authorization") is None


def test_a_dead_first_address_of_a_host_is_passed_over(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = https.socket.getaddrinfo

    def two(_host: str, port: int, *more: int) -> list[object]:
        return [*lookup("127.0.0.3", port, *more), *lookup("127.0.0.1", port, *more)]

    monkeypatch.setattr(https.socket, "getaddrinfo", two)
    assert resolve(f"{server.address}/c3d.pth", no_progress).path.read_bytes() == CONTENT
    monkeypatch.setattr(https.socket, "getaddrinfo", lambda *_: [])  # pyright: ignore
    refuse(f"{server.address}/other.pth", "the host has no address")


def entry(tmp_path: Path) -> Path:
    """Return the folder of the only cache entry."""
    (found,) = (tmp_path / "cache").iterdir()
    return found


def test_a_cached_file_that_was_changed_is_named(server: Script, tmp_path: Path) -> None:
    found = resolve(f"{server.address}/c3d.pth", no_progress)
    with found.path.open("ab") as file:
        file.write(b"x")
    message = refuse(f"{server.address}/c3d.pth", "was changed: it has 25601 bytes, not 25600")
    assert f"remove {found.path} to download it again" in message
    found.path.unlink()
    assert resolve(f"{server.address}/c3d.pth", no_progress).path.read_bytes() == CONTENT


def test_a_cached_file_that_cannot_be_read_is_named(server: Script) -> None:
    found = resolve(f"{server.address}/c3d.pth", no_progress)
    with pytest.raises(CheckpointError, match=f"remove {found.path} to download it again"):
        read_raw(f"{server.address}/c3d.pth")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"url": 1}', b"[" * 100_000])
def test_damaged_records_are_replaced(server: Script, tmp_path: Path, content: bytes) -> None:
    broken = response(CONTENT[:500], "200 OK", ETAG, f"Content-Length: {len(CONTENT)}", length=False)
    server.replies = [broken]
    refuse(f"{server.address}/c3d.pth", "run it again to resume")
    for name in ("part.json", "record.json"):
        (entry(tmp_path) / name).write_bytes(content)
    server.replies = [response(CONTENT)]
    found = resolve(f"{server.address}/c3d.pth", no_progress)
    assert (found.path.read_bytes(), found.sha256) == (CONTENT, hashlib.sha256(CONTENT).hexdigest())
    assert header(server.requests[-1], "Range") is None
    assert files(tmp_path) == ["c3d.pth", "record.json"]


def test_a_cache_that_cannot_be_written_to(server: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("C3D_EXPORT_CACHE", str(tmp_path / "file"))
    refuse(f"{server.address}/c3d.pth", "Not a directory; make room there, or set C3D_EXPORT_CACHE to another folder")


def test_a_disk_without_room(server: Script, tmp_path: Path) -> None:
    server.replies = [response(CONTENT, "200 OK", f"Content-Length: {1 << 32}", length=False)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download.shutil, "disk_usage", lambda _path: SimpleNamespace(free=1_000_000))  # pyright: ignore
        refuse(f"{server.address}/c3d.pth", "4,295 MB to download, 1 MB free in .*make room there")
    server.replies, server.requests[:] = [response(CONTENT, "200 OK", ETAG), rest(10_000, ETAG)], []
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # a write that fails, as on a full disk
    try:
        refuse(f"{server.address}/c3d.pth", "cannot keep it in .*File too large; make room there")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert resolve(f"{server.address}/c3d.pth", no_progress).path.read_bytes() == CONTENT
    assert header(server.requests[-1], "Range") == "bytes=10000-"


def test_a_second_process_says_that_it_waits(server: Script) -> None:
    server.replies = [[HEAD, 0.2, CONTENT]]
    steps: list[str] = []
    first = threading.Thread(target=resolve, args=(f"{server.address}/c3d.pth", no_progress))
    first.start()
    while not server.requests:
        time.sleep(0.001)
    found = resolve(f"{server.address}/c3d.pth", steps.append)
    first.join()
    assert steps == ["waiting for another download of c3d.pth"]
    assert found.path.read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_killed_process_leaves_a_part_that_is_resumed(server: Script, tmp_path: Path) -> None:
    server.replies = [[HEAD, CONTENT[:3000], 30.0], rest(3000, ETAG)]
    if not (child := os.fork()):
        try:
            resolve(f"{server.address}/c3d.pth", no_progress)
        finally:
            os._exit(0)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if any(path.stat().st_size == 3000 for path in (tmp_path / "cache").rglob("*.part")):
            break
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert resolve(f"{server.address}/c3d.pth", no_progress).path.read_bytes() == CONTENT
    assert header(server.requests[-1], "Range") == "bytes=3000-"


@pytest.mark.heavy  # 3 s of imports
def test_ctrl_c_leaves_a_part_that_is_resumed(server: Script, tmp_path: Path) -> None:
    server.replies = [[HEAD, CONTENT[:3000], 30.0], rest(3000, ETAG)]
    process = subprocess.Popen([BIN / "c3d-export", "inspect", f"{server.address}/c3d.pth"], stderr=subprocess.PIPE)
    while not any(path.stat().st_size == 3000 for path in (tmp_path / "cache").rglob("*.part")):
        assert process.poll() is None
        time.sleep(0.01)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=10)[1]
    assert time.monotonic() - began < 1
    assert (process.returncode, b"stopped by SIGINT" in errors) == (130, True)
    assert resolve(f"{server.address}/c3d.pth", no_progress).path.read_bytes() == CONTENT
    assert header(server.requests[-1], "Range") == "bytes=3000-"


def test_no_command_shows_a_secret(server: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(narrow_state(), tmp_path / "c3d.pth")
    server.replies = [response((tmp_path / "c3d.pth").read_bytes()), response(b"", "403 Forbidden")]
    address = server.address.replace("//", "//user:p%40ss@")
    (tmp_path / "out").mkdir()
    printed: list[str] = []
    for name, arguments, code in (
        ("c3d.pth", ("inspect", "--json", "--debug"), 0),
        ("c3d.pth", ("convert", "-o", "out/c3d.safetensors", "--debug"), 0),
        ("none.pth", ("inspect", "--json", "--debug"), 3),
    ):
        source = f"{address}/{name}?token=s3cret"
        done = call("c3d-export", arguments[0], source, *arguments[1:], cwd=tmp_path, capture=capsys)
        assert done.returncode == code, done.stderr
        printed += [done.stdout, done.stderr]
    kept = [path for folder in ("cache", "out") for path in (tmp_path / folder).rglob("*") if path.is_file()]
    assert len(kept) >= 3
    texts = [*printed, *map(str, kept), *(path.read_bytes().decode("latin-1") for path in kept)]
    hidden = ("p%40ss", "p@ss", "user", "s3cret", base64.b64encode(b"user:p@ss").decode())
    assert not [secret for text in texts for secret in hidden if secret in text]
