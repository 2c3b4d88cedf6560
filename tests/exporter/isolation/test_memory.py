"""The memory that is left where a control group has a limit, and the processes of a tree."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from helpers.supervised import ends

from exporter.isolation import memory


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system with 64 GB available."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 128000000 kB\nMemAvailable: 64000000 kB\n")
    monkeypatch.setattr(memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroup")
    return tmp_path


def limit(folder: Path, names: tuple[str, str], values: tuple[object, object], stat: str) -> None:
    folder.mkdir(parents=True)
    for name, value in zip(names, values, strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(stat)


V2, V1 = ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")


def test_without_control_groups_it_is_what_the_system_has(system: Path) -> None:
    assert memory.available_memory() == 64_000_000 * 1024


def test_the_tightest_group_around_the_process_counts(system: Path) -> None:
    (system / "proc" / "self" / "cgroup").write_text("0::/user/job\n")
    limit(system / "cgroup" / "user" / "job", V2, ("max", 10**9), "inactive_file 0\n")
    limit(system / "cgroup" / "user2", V2, (1, 0), "")
    (system / "cgroup" / "user" / "memory.max").write_text("5000000000")
    (system / "cgroup" / "user" / "memory.current").write_text("3000000000")
    (system / "cgroup" / "user" / "memory.stat").write_text("anon 1\ninactive_file 1000000000\n")
    assert memory.available_memory() == 3_000_000_000  # cached files can be taken back


def test_a_container_that_sees_its_own_group_at_the_top(system: Path) -> None:
    (system / "proc" / "self" / "cgroup").write_text("0::/docker/abc\n")
    limit(system / "cgroup", V2, (2_000_000_000, 500_000_000), "inactive_file 0\n")
    assert memory.available_memory() == 1_500_000_000


def test_version_1_of_control_groups(system: Path) -> None:
    (system / "proc" / "self" / "cgroup").write_text("5:cpu:/\n4:memory:/job\n")
    limit(system / "cgroup" / "memory" / "job", V1, (10**9, 9 * 10**8), "total_inactive_file 100000000\n")
    assert memory.available_memory() == 200_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_tree_is_found_measured_and_ended() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = memory.descendants(process.pid)
        assert found == [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        assert process.pid in memory.descendants(os.getpid())
        alone = memory.resident_memory(process.pid)
        by_psutil = psutil.Process(process.pid).memory_info()
        assert alone == pytest.approx(by_psutil.rss - by_psutil.shared, rel=0.1)
        memory.end_tree(process.pid)
    assert memory.resident_memory(process.pid) == 0
    assert all(map(ends, found))


def test_without_proc_psutil_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_HAS_CHILDREN", False)
    monkeypatch.setattr(memory, "_HAS_PROC", False)
    monkeypatch.setattr(memory, "_children", lambda _pid: [])
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, stderr=-3) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = memory.descendants(process.pid)
        assert len(found) == 1
        assert {process.pid, *found} <= set(memory.descendants(os.getpid()))
        memory.end_tree(process.pid)
    assert memory.resident_memory(process.pid) == 0
    assert memory.descendants(process.pid) == []
