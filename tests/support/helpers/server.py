"""A loopback HTTP or HTTPS server that can resume, break off, lie and redirect, and counts what it is asked."""

import re
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme


@dataclass
class Site:
    """What the server serves and what it was asked for.

    Attributes:
        content: of every path.
        files: {path: content}, where paths differ: a path that ends in a slash lists those below it, others are not there.
        ranges: whether a part of a file can be asked for without naming its validator.
        etag: its validator.
        cuts: after how many bytes each of the next responses stops; later ones are complete.
        status: of every response.
        kind: its Content-Type.
        redirect: where every request is sent instead.
        asked: (path, Range header) of each request.
    """

    content: bytes = b""
    files: dict[str, bytes] | None = None
    ranges: bool = False
    etag: str = '"one"'
    cuts: list[int] = field(default_factory=list[int])
    status: int = 200
    kind: str = "application/octet-stream"
    redirect: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, str | None]])
    address: str = ""
    close: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site = self.site
        ranged = self.headers.get("Range")
        site.asked.append((self.path, ranged))
        if site.redirect or site.status != 200:
            self._refuse(302 if site.redirect else site.status, site.redirect)
            return
        content = site.content if site.files is None else self._find(site.files)
        if content is None:
            self._refuse(404)
            return
        start, end = 0, len(content)
        if ranged and (site.ranges or self.headers.get("If-Range") == site.etag):
            first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", ranged).groups()  # pyright: ignore
            start, end = int(first), min(int(last) + 1, end) if last else end
        partial = (start, end) != (0, len(content))
        self.send_response(206 if partial else 200)
        body = content[start:end]
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else site.kind)
        self.send_header("ETag", site.etag)
        self.end_headers()
        if self.command == "GET":
            cut = site.cuts.pop(0) if site.cuts else len(body)
            with suppress(ConnectionError):  # a client may want no more than the headers
                self.wfile.write(body[:cut])
        self.close_connection = True

    do_HEAD = do_GET

    def _refuse(self, status: int, redirect: str = "") -> None:
        self.send_response(status)
        self.send_header("Location", redirect)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _find(self, files: dict[str, bytes]) -> bytes | None:
        if not self.path.endswith("/"):
            return files.get(self.path)
        names = [name.removeprefix(self.path) for name in files if name.startswith(self.path)]
        return "".join(f'<a href="{name}">{name}</a>' for name in names if "/" not in name).encode() if names else None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Say nothing."""


@contextmanager
def serve(site: Site, folder: Path) -> Generator[Path]:
    """Serve `site` over HTTPS at `site.address`; give the file with the certificate that a client must trust."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    trusted = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    with _serve(site, context):
        yield trusted


@contextmanager
def serve_plainly(site: Site) -> Generator[str]:
    """Serve `site` over HTTP; give its address."""
    with _serve(site, None):
        yield site.address


@contextmanager
def _serve(site: Site, context: ssl.SSLContext | None) -> Generator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # pyright: ignore - a client that goes away is part of the tests
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    site.address = f"{'https' if context else 'http'}://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
