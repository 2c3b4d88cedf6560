"""Which library reads which file, for a supervisor of this process.

The command line runs in a process that a supervisor watches (`exporter.isolation`): where a library crashes on a file
or never ends, the supervisor says which and on what. Without a supervisor, this does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

Watcher = Callable[[str, Path], AbstractContextManager[None]]

_watchers: list[Watcher] = []


def watch_native_calls(watcher: Watcher) -> None:
    """Have `watcher(library, path)` entered around each reading from now on, in place of another one."""
    _watchers[:] = [watcher]


def native_call(library: str, path: Path) -> AbstractContextManager[None]:
    """Return a context in which a library reads a file."""
    return _watchers[0](library, path) if _watchers else nullcontext()
