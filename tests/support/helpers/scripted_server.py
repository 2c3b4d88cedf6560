"""A loopback HTTPS server that sends exactly the bytes of a script, at its pace: what no correct server would send."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import trustme

Reply = Iterable[bytes | float]
"""Bytes to send and seconds to wait, in their order; then the connection is closed."""


@dataclass
class Script:
    """What the server sends, and what it was asked.

    Attributes:
        replies: one for each request; the last one is sent again to later requests. A function makes it of the request.
        requests: the head of each request.
        address: `https://localhost:<port>`.
        other: the same server under another origin.
    """

    replies: list[Reply | Callable[[str], Reply]]
    requests: list[str] = field(default_factory=list[str])
    address: str = ""
    other: str = ""

    def next_reply(self, request: str) -> Reply:
        self.requests.append(request)
        reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
        return reply(request) if callable(reply) else reply


def response(body: bytes = b"", status: str = "200 OK", *headers: str, length: bool = True) -> list[bytes | float]:
    """Return a reply; it states its length unless that is among `headers` or `length` is False."""
    lines = [f"HTTP/1.1 {status}", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return ["\r\n".join([*lines, "", ""]).encode("latin-1") + body]


def chunked(*pieces: bytes) -> bytes:
    """Return a body in chunks, without the last one, which is empty."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


@contextmanager
def serve_script(script: Script, folder: Path) -> Generator[Path]:
    """Serve a script; give the file with the certificate that a client must trust."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "127.0.0.2", "localhost", "xn--bcher-kva.localhost").configure_cert(context)
    trusted = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    listening, stopping = socket.create_server(("127.0.0.1", 0)), threading.Event()
    listening.settimeout(0.05)
    port = listening.getsockname()[1]
    script.address, script.other = f"https://localhost:{port}", f"https://127.0.0.1:{port}"

    def accept() -> None:
        while not stopping.is_set():
            with suppress(OSError):
                connection = listening.accept()[0]
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        connection.settimeout(5)
        with suppress(OSError), context.wrap_socket(connection, server_side=True) as stream:
            head = b""
            while b"\r\n\r\n" not in head and (more := stream.recv(65536)):
                head += more
            for part in script.next_reply(head.decode("latin-1")):
                if stopping.is_set():
                    break
                if isinstance(part, bytes):
                    stream.sendall(part)
                else:
                    time.sleep(part)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield trusted
    finally:
        stopping.set()
        thread.join()
        listening.close()
