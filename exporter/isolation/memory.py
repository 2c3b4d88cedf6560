"""The memory that processes hold and that is left, and the end of a tree of processes.

On Linux everything is read from /proc in microseconds, so that a supervisor takes nothing from what it watches (`bench`
above all); elsewhere psutil is asked.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Return the bytes that processes can still take here: the system's, or less in a container with a limit."""
    return min([_system_memory(), *_cgroup_memory()])


def resident_memory(pid: int) -> int:
    """Return the resident bytes of a process without files that are mapped; 0 where it has ended.

    Mapped files are left out because the system takes that memory back where it needs it, and because several
    processes share it.
    """
    try:
        with open(f"/proc/{pid}/statm", "rb") as stream:  # noqa: PTH123 - read ten times a second
            pages = stream.read().split()
        return (int(pages[1]) - int(pages[2])) * _PAGE
    except (OSError, IndexError):
        return 0 if _HAS_PROC else _resident_by_psutil(pid)


def descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they started, the oldest first."""
    if not _HAS_CHILDREN:
        return _descendants_by_psutil(pid)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = _children(waiting.pop(0))
        found += children
        waiting += children
    return found


def end_tree(pid: int) -> None:
    """Kill a process and those it started, the children last: they cannot start more."""
    children = descendants(pid)
    for each in (pid, *children):
        kill(each)


def kill(pid: int) -> None:
    """Kill a process that may have ended already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))  # Windows has no SIGKILL, and ends it at once


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):  # it has ended
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - see `resident_memory`
            with (
                contextlib.suppress(OSError),
                open(f"/proc/{pid}/task/{task}/children", "rb") as stream,  # noqa: PTH123
            ):
                found += map(int, stream.read().split())
    return found


def _system_memory() -> int:
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = (PROC / "meminfo").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024
    import psutil

    return int(psutil.virtual_memory().available)


def _cgroup_memory() -> list[int]:
    """Return what each control group around this process leaves, of those that have a limit."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for line in (PROC / "self" / "cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0":
                names, base = ("memory.max", "memory.current", "inactive_file"), CGROUPS
            elif "memory" in controllers.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                base = CGROUPS / "memory"
            else:
                continue
            group = base / path.lstrip("/")
            # in a container, the path may be the host's: then the group is mounted at the top
            for folder in (group, *group.parents):
                found += _left_in(folder, *names)
                if folder == base:
                    break
    return found


def _left_in(folder: Path, limit: str, usage: str, reclaimable: str) -> list[int]:
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no limit
        most, used = (int((folder / name).read_text()) for name in (limit, usage))
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == reclaimable:
                used -= int(value)
        return [max(most - used, 0)]
    return []


def _resident_by_psutil(pid: int) -> int:
    import psutil

    with contextlib.suppress(psutil.Error):
        memory = psutil.Process(pid).memory_info()
        return int(memory.rss - getattr(memory, "shared", 0))
    return 0


def _descendants_by_psutil(pid: int) -> list[int]:
    import psutil

    with contextlib.suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return []


_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_HAS_PROC = (PROC / "self" / "statm").is_file()
_HAS_CHILDREN = (PROC / "self" / "task" / str(os.getpid()) / "children").is_file()
