"""Only a response that is the file, or the rest that was asked for, is taken."""

from email.message import Message

import pytest

from models.http.bodies import Body, read_headers, require_content
from models.http.errors import ChangedError, ResponseError

HAVE = Body(100, 1000, '"one"', delimited=True)


def headers(*lines: str) -> Message:
    message = Message()
    for line in lines:
        name, _, value = line.partition(": ")
        message[name] = value
    return message


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["Content-Length: 5", 'ETag: "x"'], Body(0, 5, '"x"', delimited=True)),
        (["Content-Length: 5, 5", "Content-Length: 5"], Body(0, 5, "", delimited=True)),
        (["Transfer-Encoding: chunked"], Body(0, None, "", delimited=True)),
        (["Content-Encoding: identity"], Body(0, None, "", delimited=False)),
        (['ETag: W/"x"', "Content-Length: 5"], Body(0, 5, "", delimited=True)),
        (
            ["Last-Modified: Mon, 02 Feb 2026 10:00:00 GMT", "Date: Mon, 02 Feb 2026 10:01:00 GMT"],
            Body(0, None, "Mon, 02 Feb 2026 10:00:00 GMT", delimited=False),
        ),
        (
            ["Last-Modified: Mon, 02 Feb 2026 10:00:00 GMT", "Date: Mon, 02 Feb 2026 10:00:59 GMT"],
            Body(0, None, "", delimited=False),
        ),
        (["Last-Modified: yesterday", "Date: today"], Body(0, None, "", delimited=False)),
    ],
)
def test_a_whole_file(lines: list[str], body: Body) -> None:
    assert read_headers(200, headers(*lines), None) == body
    assert read_headers(200, headers(*lines), HAVE) == body, "a server may ignore that only the rest was asked for"


@pytest.mark.parametrize(
    ("status", "lines", "reason"),
    [
        (200, ["Content-Encoding: gzip"], r"encoded \(gzip\)"),
        (200, ["Content-Encoding: br"], r"encoded \(br\)"),
        (200, ["Content-Encoding: deflate, gzip"], "encoded"),
        (200, ["Transfer-Encoding: gzip, chunked"], "transfer encoding gzip"),
        (200, ["Content-Length: -5"], "no valid Content-Length"),
        (200, ["Content-Length: 0x10"], "no valid Content-Length"),
        (200, ["Content-Length: \u0665"], "no valid Content-Length"),
        (200, ["Content-Length: " + "9" * 30], "no valid Content-Length"),
        (200, ["Content-Length: "], "no valid Content-Length"),
        (200, ["Content-Length: 5", "Content-Length: 6"], "no valid Content-Length"),
        (200, ["Content-Length: 5, 6"], "no valid Content-Length"),
        (200, ["Content-Type: Text/HTML"], "a web page"),
        (203, ["Content-Length: 5"], "responds 203"),
        (204, [], "responds 204"),
        (205, [], "responds 205"),
        (206, ["Content-Range: bytes 0-4/5"], "although the whole was requested"),
    ],
)
def test_what_is_not_the_file(status: int, lines: list[str], reason: str) -> None:
    with pytest.raises(ResponseError, match=reason):
        read_headers(status, headers(*lines), None)


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Range: bytes 100-999/1000", "Content-Length: 900"],
        ["Content-Range: bytes 100-999/1000", 'ETag: "one"'],
        ["Content-Range: bytes 100-999/*", 'ETag: "one"'],
    ],
)
def test_the_rest_of_a_file(lines: list[str]) -> None:
    assert read_headers(206, headers(*lines), HAVE) == HAVE


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["Content-Type: multipart/byteranges; boundary=x"],
        ["Content-Range: bytes 0-999/1000"],
        ["Content-Range: bytes 101-999/1000"],
        ["Content-Range: bytes 100-899/1000"],
        ["Content-Range: bytes 100-899/*"],
        ["Content-Range: bytes 100-1099/1100"],
        ["Content-Range: bytes */1000"],
        ["Content-Range: pages 100-999/1000"],
        ["Content-Range: bytes 100-999/1000", "Content-Length: 899"],
        ["Content-Range: bytes 100-999/1000", 'ETag: "two"'],
        ["Content-Range: bytes 100-999/1000", 'ETag: W/"one"'],
    ],
)
def test_another_part_or_another_file(lines: list[str]) -> None:
    with pytest.raises(ChangedError):
        read_headers(206, headers(*lines), HAVE)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><title>Log in", "a web page"),
        (b"\xef\xbb\xbf \r\n<HTML>", "a web page"),
        (b"<!-- captive portal --><html>", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied', "XML text"),
        (b"<Error><Code>NoSuchKey", "XML text"),
        (b'{"message": "Not Found"}', "JSON text"),
        (b'["error"]', "JSON text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
    ],
)
def test_text_that_is_no_checkpoint(head: bytes, what: str) -> None:
    with pytest.raises(ResponseError, match=f"the server sends {what}"):
        require_content(head)


@pytest.mark.parametrize(
    "head",
    [
        b"PK\x03\x04",
        b"\x80\x02}q",
        b"<\x00\x00\x00\x00\x00\x00\x00{}",  # safetensors, whose header has 60 bytes
        b"(dp0\nS'fc8.weight'\n",  # a pickle of protocol 0
        b"\x89HDF\r\n\x1a\n",
    ],
)
def test_checkpoints_pass(head: bytes) -> None:
    require_content(head)
