"""Which file was hashed, and whether it still is the one under its path."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter import file_state as file_state_module
from exporter.errors import IntegrityError
from exporter.file_state import file_state, hashed_file_state, require_unchanged

pytestmark = pytest.mark.usefixtures("clock_tick")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"model")
    return path


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"MODEL")
    other.replace(path)


def replace_and_put_back(path: Path) -> None:
    path.rename(path.with_name("aside"))
    path.write_bytes(b"MODEL")
    path.with_name("aside").replace(path)


def write_in_place(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(b"M")


def write_and_set_the_times_back(path: Path) -> None:
    about = path.stat()
    write_in_place(path)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"l")


CHANGES = [replace, replace_and_put_back, write_in_place, write_and_set_the_times_back, append, Path.unlink]


def test_the_hash_and_size_of_an_unchanged_file(path: Path) -> None:
    state = hashed_file_state(path)
    assert (state.sha256, state.bytes) == (hashlib.sha256(b"model").hexdigest(), 5)
    path.read_bytes()
    require_unchanged([state, file_state(path)])


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_right_after_the_hash_is_found(change: Callable[[Path], None], path: Path) -> None:
    state = hashed_file_state(path)
    change(path)
    with pytest.raises(IntegrityError, match="was changed while it was in use"):
        require_unchanged([state])


def test_a_link_that_points_elsewhere_later(path: Path) -> None:
    link, other = path.with_name("link"), path.with_name("other")
    other.write_bytes(b"MODEL")
    link.symlink_to(path)
    state = hashed_file_state(link)
    link.unlink()
    link.symlink_to(other)
    with pytest.raises(IntegrityError, match="names another file now"):
        require_unchanged([state])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "it is a pipe"),
        (os.mkdir, "Is a directory"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
    ],
)
def test_what_is_no_regular_file_is_not_waited_for(make: Callable[[Path], None], reason: str, path: Path) -> None:
    path.unlink()
    make(path)
    for state in (file_state, hashed_file_state):
        with pytest.raises(OSError, match=reason):
            state(path)


def test_a_pipe_that_takes_the_files_place_is_not_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def replaced(opened: Path, flags: int) -> int:
        assert flags & os.O_NONBLOCK
        opened.unlink()
        os.mkfifo(opened)
        return real(opened, flags)

    monkeypatch.setattr(os, "open", replaced)
    with pytest.raises(OSError, match="it is a pipe"):
        hashed_file_state(path)


def test_a_file_that_was_just_written_is_hashed_a_tick_of_the_clock_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(file_state_module, "CLOCK_TICK_NS", 10**12)
    monkeypatch.setattr(time, "sleep", waits.append)
    hashed_file_state(path)
    monkeypatch.setattr(file_state_module, "CLOCK_TICK_NS", 1)
    hashed_file_state(path)
    (wait,) = waits
    assert wait == pytest.approx(1000, abs=60)


def test_a_file_that_is_written_to_while_it_is_hashed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda stream, name: (write_in_place(path), whole(stream, name))[1])
    with pytest.raises(OSError, match="written to while it was read"):
        hashed_file_state(path)
