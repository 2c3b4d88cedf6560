"""What an input makes Python do: an audit hook that notes code run, modules imported, files written, connections.

Source of the events: https://docs.python.org/3/library/audit_events.html.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

EVENTS = (
    "code.__new__",
    "compile",
    "ctypes.",
    "exec",
    "ftplib.",
    "http.client.",
    "import",
    "marshal.",
    "os.exec",
    "os.fork",
    "os.link",
    "os.mkdir",
    "os.posix_spawn",
    "os.putenv",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.spawn",
    "os.symlink",
    "os.system",
    "os.truncate",
    "pickle.find_class",
    "pty.",
    "shutil.",
    "smtplib.",
    "socket.",
    "sqlite3.",
    "subprocess.",
    "urllib.",
    "webbrowser.",
)
"""Prefixes of what no file may cause."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Notes events while it is armed.

    Attributes:
        events: what happened since it was armed last.
        allowed: starts of events that the tool causes by itself: `subprocess.Popen` for the process that reads HDF5.
    """

    def __init__(self, temporary: Path, allowed: tuple[str, ...] = ()) -> None:
        """Install the hook, which stays for the life of the process.

        Args:
            temporary: the only folder below which files may be opened for writing.
            allowed: see the class.
        """
        self.events: list[str] = []
        self.allowed = allowed
        self._temporary = os.fspath(temporary)
        self._armed = False
        sys.addaudithook(self._hook)

    @contextmanager
    def armed(self) -> Generator[None]:
        """Note what happens in the block."""
        self.events.clear()
        self._armed = True
        try:
            yield
        finally:
            self._armed = False

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._armed or not (event == "open" or event.startswith(EVENTS)):
            return
        self._armed = False  # describing the event may cause others
        try:
            text = f"{event} {arguments!r}"[:200]
            if (event != "open" or self._writes(arguments)) and not text.startswith(self.allowed or ("\0",)):
                self.events.append(text)
        finally:
            self._armed = True

    def _writes(self, arguments: tuple[object, ...]) -> bool:
        path, mode, flags = arguments
        writing = any(letter in mode for letter in "wax+") if isinstance(mode, str) else False
        if isinstance(flags, int) and not isinstance(mode, str):
            writing = bool(flags & _WRITING)
        inside = isinstance(path, (str, bytes)) and os.fsdecode(path).startswith(self._temporary)
        return writing and not inside and not isinstance(path, int)
