"""The memory that a tree of processes holds, and the end of all of them."""

from __future__ import annotations

import contextlib


def available_memory() -> int:
    """Return the bytes that processes can still take here: the system's, or less in a container with a limit."""
    import psutil

    return int(psutil.virtual_memory().available)


def held_memory(pid: int) -> int:
    """Return the resident bytes of a process and those it started, without files that are mapped.

    Mapped files are left out because the system takes that memory back where it needs it, and because several
    processes share it.
    """
    import psutil

    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                memory = each.memory_info()
                total += memory.rss - getattr(memory, "shared", 0)
    return total


def end_tree(pid: int) -> None:
    """Kill a process and those it started, the children last: they cannot start more."""
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        children = process.children(recursive=True)
        process.kill()
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.kill()
