"""Files: written completely or not at all, locked, and opened by their descriptor."""

import errno
import os
from pathlib import Path

import pytest
import torch
from filelock import Timeout
from helpers.loaded import load_tensors
from safetensors.torch import save_file

from models import paths
from models.checkpoints.readers import read_file
from models.errors import CheckpointError
from models.paths import acquire_lock, atomic_open, atomic_write, descriptor_path, read_small_file


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_bytes(b"old")
    with atomic_open(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [*tmp_path.iterdir()] == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    atomic_write(path, b"old")
    with pytest.raises(OSError, match="No space"), atomic_open(path) as stream:
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


def test_a_lock_is_held_until_the_block_ends(tmp_path: Path) -> None:
    with acquire_lock(tmp_path / "lock"), pytest.raises(Timeout):
        acquire_lock(tmp_path / "lock", timeout=0)
    with acquire_lock(tmp_path / "lock", timeout=0):
        pass


@pytest.mark.skipif(not paths.DESCRIPTORS.is_dir(), reason="Linux's /proc")
def test_a_descriptor_names_the_open_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"first")
    with (tmp_path / "a").open("rb") as stream:
        (tmp_path / "b").write_bytes(b"second")
        (tmp_path / "b").replace(tmp_path / "a")
        path = descriptor_path(stream)
        assert path is not None
        assert path.read_bytes() == b"first"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_checkpoints_are_read_where_there_is_no_proc(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {"conv1.weight": torch.arange(24.0).reshape(2, 3, 4)}
    path = tmp_path / f"c3d{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    expected = read_file(path)
    monkeypatch.setattr(paths, "DESCRIPTORS", tmp_path / "no proc" / str(os.getpid()))
    found = read_file(path)
    assert torch.equal(load_tensors(found)["conv1.weight"], tensors["conv1.weight"])
    assert (found.sha256, found.size, found.container) == (expected.sha256, expected.size, expected.container)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pipe", "not a file"),
        ("link to a pipe", "not a file"),
        ("device", "not a file"),
        ("folder", "not a file"),
        ("missing", "no such list"),
        ("large", "9 bytes: too large for a list"),
    ],
)
def test_a_small_file_is_a_file_and_small(kind: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "names"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link to a pipe":
            os.mkfifo(tmp_path / "pipe")
            path.symlink_to("pipe")
        case "device":
            path = Path("/dev/zero")
        case "folder":
            path.mkdir()
        case "large":
            path.write_bytes(b"123456789")
        case _:
            pass
    with pytest.raises(CheckpointError, match=message):
        read_small_file(path, "list", 8, CheckpointError)


@pytest.mark.parametrize(("other", "message"), [("pipe", "not a file"), ("large", "9 bytes: too large for a list")])
def test_what_takes_the_place_of_a_small_file_is_neither_waited_for_nor_read_whole(
    other: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "names"
    path.write_bytes(b"12345678")

    def exchange(*_: object) -> int:
        path.unlink()
        if other == "pipe":
            os.mkfifo(path)
        else:
            path.write_bytes(b"123456789")
        return 8

    monkeypatch.setattr(paths, "require_file", exchange)
    with pytest.raises(CheckpointError, match=message):
        read_small_file(path, "list", 8, CheckpointError)


def test_a_small_file_that_grows_is_read_to_its_limit_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "names"
    path.write_bytes(b"12345678")
    before = path.stat()
    path.write_bytes(bytes(1000))
    monkeypatch.setattr(paths.os, "fstat", lambda _: before)
    with pytest.raises(CheckpointError, match="names: 9 bytes: too large"):
        read_small_file(path, "list", 8, CheckpointError)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc")
def test_what_the_system_makes_when_it_is_read_is_no_file() -> None:
    """Such as /proc/kmsg, of which reading waits for the next message."""
    with pytest.raises(CheckpointError, match="not a file"):
        read_small_file(Path("/proc/self/maps"), "list", 8, CheckpointError)


def test_a_small_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "names").write_bytes(b"12345678")
    assert read_small_file(tmp_path / "names", "list", 8, CheckpointError) == b"12345678"
