"""What a run leaves behind is known by its name: made by a run that still works, or by one that has ended."""

import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from models.paths import atomic_write
from models.temporary import (
    ABANDONED_AFTER_S,
    PART,
    PREFIX,
    Owner,
    current_owner,
    is_abandoned,
    lock_folder,
    read_owner,
    temporary_name,
)

DEAD = 2**22 - 1
"""The highest process number of Linux, which hardly any process has."""


def make_name(**changes: object) -> str:
    """A temporary name of this process, with another machine, start of the machine, process, …."""
    owner = Owner(**{**asdict(current_owner()), **changes})  # type: ignore[arg-type]
    return f"{PREFIX}{owner.host}-{owner.boot}.{owner.namespace}-{owner.pid}.{owner.start}-0a1b2c3d"


def test_a_name_says_who_made_it() -> None:
    assert read_owner(temporary_name()) == read_owner(temporary_name(PART)) == current_owner()
    assert temporary_name() != temporary_name()
    assert current_owner().pid == os.getpid()


@pytest.mark.parametrize(
    ("changes", "abandoned"),
    [
        ({}, False),
        ({"pid": DEAD}, True),
        ({"start": "1"}, True),  # the number is another process's now
        ({"boot": "before"}, True),  # a power failure since
        ({"host": "another-machine.of-mine"}, False),
        ({"namespace": "f0000001", "pid": DEAD}, False),  # another container: its processes cannot be seen
    ],
    ids=["running", "ended", "reused number", "before a restart", "another machine", "another container"],
)
def test_who_has_ended(changes: dict[str, object], abandoned: bool, tmp_path: Path) -> None:
    folder = tmp_path / make_name(**changes)
    folder.mkdir()
    assert is_abandoned(folder) is abandoned
    old = time.time() - ABANDONED_AFTER_S - 60
    os.utime(folder, (old, old))
    assert is_abandoned(folder) is (abandoned or not {"host", "namespace"}.isdisjoint(changes))


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_process_that_only_waits_to_be_collected_has_ended(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import os; print(open('/proc/self/stat').read(), flush=True)"],
                          stdout=subprocess.PIPE) as child:  # fmt: skip
        assert child.stdout is not None
        start = child.stdout.read().rpartition(b")")[2].split()[19].decode()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        folder = tmp_path / make_name(pid=child.pid, start=start)
        folder.mkdir()
        assert is_abandoned(folder)


@pytest.mark.parametrize("name", [f"{PREFIX}host-{'9' * 30}-0", f"{PREFIX}x", f"{PREFIX}host-a.b-x.1-0"])
def test_other_names_are_kept_until_they_are_old(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    assert read_owner(name) is None
    assert not is_abandoned(tmp_path / name)


@pytest.mark.skipif(sys.platform == "win32", reason="needs flock")
def test_a_locked_folder_is_in_use_whatever_its_name_says(tmp_path: Path) -> None:
    folder = tmp_path / make_name(pid=DEAD)
    folder.mkdir()
    with lock_folder(folder) as locked:
        assert locked
        assert not is_abandoned(folder)
        with lock_folder(folder, timeout=0) as again:
            assert not again
    assert is_abandoned(folder)
    assert list(folder.iterdir()) == [], "a lock leaves no file"


def test_a_file_that_a_killed_run_left_goes_with_the_next_one(tmp_path: Path) -> None:
    left, running = tmp_path / f"{make_name(pid=DEAD)}{PART}", tmp_path / temporary_name(PART)
    for part in (left, running):
        part.write_bytes(b"half")
    atomic_write(tmp_path / "scores.csv", b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([running, tmp_path / "scores.csv"])


@pytest.mark.skipif(sys.platform == "win32", reason="needs users")
def test_what_another_user_has_made_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder like /tmp anybody can make a staging folder with any content."""
    theirs = tmp_path / make_name(pid=DEAD)
    theirs.mkdir()
    (tmp_path / make_name(pid=DEAD - 1)).symlink_to(theirs)
    assert is_abandoned(theirs)
    assert not is_abandoned(tmp_path / make_name(pid=DEAD - 1)), "a link is not what this tool makes"
    real = Path.lstat

    class Theirs:
        st_mode, st_uid = theirs.stat().st_mode, os.geteuid() + 1

    monkeypatch.setattr(Path, "lstat", lambda self: Theirs if self == theirs else real(self))
    assert not is_abandoned(theirs)
