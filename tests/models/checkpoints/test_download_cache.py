"""A download is kept, resumed and checked; what is damaged in the cache is named or replaced."""

import hashlib
import os
import resource
import signal
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.downloads import CONTENT, ETAG, HEAD, files, header, refuse, rest
from helpers.run import BIN
from helpers.scripted_server import Reply, Script, response

from models.checkpoints import download
from models.checkpoints.reading import read_raw
from models.checkpoints.sources import resolve
from models.errors import CheckpointError
from models.progress import no_progress


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
        refuse(f"{server.address}/c3d.pth", "4,295.0 MB to download, 1.0 MB free in .*make room there")
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
