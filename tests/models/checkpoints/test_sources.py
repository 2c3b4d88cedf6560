"""Checkpoints from elsewhere: whole, the file that was meant, and without the network the second time."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.built import checkpoint
from helpers.checkpoints import constant_state
from helpers.server import Site, serve

from models import build
from models.checkpoints.sources import is_remote, resolve
from models.errors import CheckpointError, UsageError
from models.options import BuildOptions
from models.progress import no_progress

CONTENT = bytes(range(256)) * 40_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site(CONTENT)
    with serve(site, tmp_path) as trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        monkeypatch.setenv("C3D_EXPORT_CACHE", str(tmp_path / "cache"))
        yield site


def refused(source: str, match: str) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        resolve(source, no_progress)
    assert "\n" not in str(caught.value)
    for secret in ("hunter2", "s3cret"):
        assert secret not in str(caught.value)


def test_a_download_is_kept_and_recorded_and_the_second_asks_nobody(site: Site) -> None:
    reported: list[str] = []
    first = resolve(f"{site.address}/a/c3d.pth", reported.append)
    assert first.path.read_bytes() == CONTENT
    assert (first.path.name, first.sha256, first.url) == ("c3d.pth", SHA256, f"{site.address}/a/c3d.pth")
    assert any(SHA256 in note for note in first.notes)
    assert reported[0].startswith("downloading c3d.pth: ")
    assert reported[0].endswith(" of 10 MB")
    assert len(site.asked) == 1
    site.status = 500
    again = resolve(f"{site.address}/a/c3d.pth", no_progress)
    assert (again.path, again.sha256) == (first.path, SHA256)
    assert "from the cache" in again.notes[0]
    assert len(site.asked) == 1


def test_what_breaks_off_is_resumed(site: Site) -> None:
    site.cuts = [1_000_000, 2_500_000]
    found = resolve(f"{site.address}/c3d.pth", no_progress)
    assert found.path.read_bytes() == CONTENT
    assert [ranged for _, ranged in site.asked] == [None, "bytes=1000000-", "bytes=3500000-"]


def test_the_next_run_resumes_what_the_last_one_left(site: Site) -> None:
    site.cuts = [100_000] * 4
    refused(f"{site.address}/c3d.pth", "broke off after 400000 of 10240000 bytes; what arrived is kept, run it again")
    assert resolve(f"{site.address}/c3d.pth", no_progress).path.read_bytes() == CONTENT
    assert site.asked[-1][1] == "bytes=400000-"


def test_a_hash_is_demanded(site: Site, tmp_path: Path) -> None:
    refused(f"{site.address}/c3d.pth#sha256={'0' * 64}", f"what arrived has SHA-256 {SHA256}, not 0{{64}}")
    assert not list((tmp_path / "cache").rglob("c3d.pth*"))
    assert resolve(f"{site.address}/c3d.pth#sha256={SHA256.upper()}", no_progress).sha256 == SHA256
    refused(f"{site.address}/c3d.pth#sha256={'0' * 64}", "the cached file has SHA-256 .*remove .* to download it again")


# the test's own server leaves the socket of a handshake that failed to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_an_unknown_certificate_and_a_dead_server(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    refused(f"{site.address}/c3d.pth", "CERTIFICATE_VERIFY_FAILED")
    refused("https://localhost:9/c3d.pth", "the download failed: .*refused")


def test_two_at_once_leave_one_whole_file(site: Site) -> None:
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(resolve(f"{site.address}/c3d.pth", no_progress).path.read_bytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 4
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("http://host/c3d.pth", "https:// or hf://"),
        ("ftp://host/c3d.pth", "not ftp://"),
        ("https://", "is no address"),
        ("file:///c3d.pth", "give its path"),
        ("https://host/c3d.pth#md5=1", "after # only sha256="),
        ("hf://owner", "give hf://owner/repo"),
        ("hf://owner/repo/../x", "give hf://owner/repo"),
        ("https://[", "is no address"),
    ],
)
def test_other_addresses_are_wrong_usage(source: str, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        resolve(source, no_progress)


def test_a_path_is_a_path() -> None:
    assert not is_remote("weights#sha256=1.pth")
    assert resolve("a/b.pth", no_progress).path == Path("a/b.pth")


def test_the_bytes_that_are_parsed_are_held_against_the_record(site: Site, tmp_path: Path) -> None:
    torch.save(constant_state(3), tmp_path / "c3d.pth")
    site.content = (tmp_path / "c3d.pth").read_bytes()
    built = build(BuildOptions(weights=f"{site.address}/c3d.pth"))
    assert (checkpoint(built).url, built.settings["num_classes"]) == (f"{site.address}/c3d.pth", 3)
    torch.save(constant_state(4), str(checkpoint(built).path))
    with pytest.raises(CheckpointError, match="has the wrong hash: SHA-256 .*remove it to download it again"):
        build(BuildOptions(weights=f"{site.address}/c3d.pth"))
