"""A loopback HTTPS server that can resume, break off, lie and redirect, and counts what it is asked."""

import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme


@dataclass
class Site:
    """What the server serves and what it was asked for.

    Attributes:
        content: of every path.
        etag: its validator.
        cuts: after how many bytes each of the next responses stops; later ones are complete.
        status: of every response.
        kind: its Content-Type.
        redirect: where every request is sent instead.
        asked: (path, Range header) of each request.
    """

    content: bytes
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
            self.send_response(302 if site.redirect else site.status)
            self.send_header("Location", site.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(ranged.removeprefix("bytes=").rstrip("-")) if ranged else 0
        if self.headers.get("If-Range") != site.etag:
            start = 0
        self.send_response(206 if start else 200)
        body = site.content[start:]
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", site.kind)
        self.send_header("ETag", site.etag)
        self.end_headers()
        cut = site.cuts.pop(0) if site.cuts else len(body)
        self.wfile.write(body[:cut])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Say nothing."""


@contextmanager
def serve(site: Site, folder: Path) -> Generator[Path]:
    """Serve `site` at `site.address`; give the file with the certificate that a client must trust."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    trusted = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # pyright: ignore - a client that goes away is part of the tests
    server.socket = context.wrap_socket(server.socket, server_side=True)
    site.address = f"https://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield trusted
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
