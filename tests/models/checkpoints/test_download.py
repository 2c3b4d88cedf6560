"""Whatever a server does, a download ends in bounded time with the file or one line, and no secret leaves."""

import hashlib
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.downloads import CONTENT, ETAG, HEAD, files, redirect, refuse, rest
from helpers.scripted_server import Reply, Script, chunked, response

from models.checkpoints import download
from models.checkpoints.sources import resolve
from models.http.transfer import LIMITS
from models.progress import no_progress

FAST = replace(
    LIMITS, connect_s=5.0, headers_s=0.2, silence_s=0.3, window_s=0.3, base_s=9.0, bytes_per_s=1e6, unannounced_s=0.4
)


def drip(data: bytes, every_s: float) -> Reply:
    return itertools.chain.from_iterable((data[i : i + 1], every_s) for i in range(len(data)))


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
    monkeypatch.setattr(download, "LIMITS", replace(FAST, base_s=0.4, bytes_per_s=10_000, unannounced_s=0.1))
    pieces = (CONTENT[i : i + 2560] for i in range(0, len(CONTENT), 2560))
    server.replies = [[HEAD, *itertools.chain.from_iterable((piece, 0.02) for piece in pieces)]]
    assert resolve(f"{server.address}/c3d.pth", no_progress).path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (response(b""), "an empty file"),
        (response(b"<!DOCTYPE html><title>Log in"), "a web page"),
        (response(CONTENT, "200 OK", "Content-Encoding: gzip"), r"encoded \(gzip\)"),
        (
            response(CONTENT, "206 Partial Content", f"Content-Range: bytes 0-9/{len(CONTENT)}"),
            "although the whole was requested",
        ),
        (response(b"", "204 No Content", length=False), "responds 204"),
        (response(CONTENT, "200 OK", "Content-Length: 5", "Content-Length: 6", length=False), "Content-Length"),
        (response(CONTENT, length=False), "does not state the file's length.*#sha256="),
        ([b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT], "does not state the file's length"),
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


def test_a_file_that_changes_all_the_time_is_given_up(server: Script) -> None:
    broken = response(CONTENT[:500], "200 OK", ETAG, f"Content-Length: {len(CONTENT)}", length=False)
    server.replies = [broken, rest(400), broken, rest(400)]
    refuse(f"{server.address}/c3d.pth", "the file changes while it is downloaded")
