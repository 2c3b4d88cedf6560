"""Who is asked, and what each of them is told: hosts, redirects, proxies and passwords."""

import base64
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import narrow_state
from helpers.downloads import CONTENT, header, redirect, refuse
from helpers.run import call
from helpers.scripted_server import Script, response

from models.checkpoints.sources import resolve
from models.http import client
from models.progress import no_progress


def test_user_and_password_reach_the_server_and_not_the_resolver(
    server: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    lookup = client.socket.getaddrinfo

    def record(*arguments: object) -> object:
        asked.append(arguments[0])
        return lookup(*arguments)  # pyright: ignore

    monkeypatch.setattr(client.socket, "getaddrinfo", record)
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
    lookup = client.socket.getaddrinfo
    monkeypatch.setattr(client.socket, "getaddrinfo", lambda _host, *more: lookup("127.0.0.1", *more))  # pyright: ignore
    address = server.address.replace("localhost", "bücher.localhost")
    found = resolve(f"{address}/gewichte für/c3d.pth?q=ä b", no_progress)
    assert server.requests[0].startswith("GET /gewichte%20f%C3%BCr/c3d.pth?q=%C3%A4%20b HTTP/1.1\r\n")
    assert (header(server.requests[0], "Host") or "").startswith("xn--bcher-kva.localhost:")
    assert found.url == f"{address}/gewichte für/c3d.pth"


def test_a_public_server_does_not_redirect_into_a_private_network(
    server: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "is_private", lambda ip: ip == "127.0.0.2")  # pyright: ignore
    to_private = server.other.replace("127.0.0.1", "127.0.0.2")
    server.replies = [redirect(f"{to_private}/c3d.pth"), response(CONTENT)]
    refuse(f"{server.address}/c3d.pth", "redirects to a private address, from a public one")
    assert len(server.requests) == 1


def test_a_private_server_opens_its_network_to_no_public_one(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the intranet to a public server, and from there back into it; each host is looked up, and checked, once."""
    connections = iter([True, False, True])
    lookup = client.socket.getaddrinfo
    monkeypatch.setattr(client.socket, "getaddrinfo", lambda _host, *more: lookup("127.0.0.1", *more))  # pyright: ignore
    monkeypatch.setattr(client, "is_private", lambda _ip: next(connections))  # pyright: ignore
    server.replies = [redirect("/x"), redirect("/y"), response(CONTENT)]
    refuse(f"{server.address}/c3d.pth", "redirects to a private address, from a public one")
    assert len(server.requests) == 2


@pytest.mark.parametrize("private", [True, False])
def test_a_server_redirects_within_a_private_network_or_the_public_one(
    private: bool, server: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "is_private", lambda _ip: private)  # pyright: ignore
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
    assert client.is_private(ip) is private


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


def test_a_server_behind_a_proxy_does_not_redirect_to_a_private_address_beside_it(
    server: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the proxy knows where the server is; the redirect would be followed from here."""
    server.replies = [redirect(f"{server.other}/c3d.pth"), response(CONTENT)]
    with proxy([]) as address:
        monkeypatch.setenv("https_proxy", address)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        refuse(f"{server.address}/c3d.pth", "redirects to a private address, from a public one")
    assert len(server.requests) == 1


def test_a_dead_first_address_of_a_host_is_passed_over(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = client.socket.getaddrinfo

    def two(_host: str, port: int, *more: int) -> list[object]:
        return [*lookup("127.0.0.3", port, *more), *lookup("127.0.0.1", port, *more)]

    monkeypatch.setattr(client.socket, "getaddrinfo", two)
    assert resolve(f"{server.address}/c3d.pth", no_progress).path.read_bytes() == CONTENT
    monkeypatch.setattr(client.socket, "getaddrinfo", lambda *_: [])  # pyright: ignore
    refuse(f"{server.address}/other.pth", "the host has no address")


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
