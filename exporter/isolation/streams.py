"""stdout and stderr are the user's alone: what libraries print goes elsewhere.

Libraries write warnings, logs and usage messages to the file descriptors 1 and 2, from C++ as from Python. A worker
gives these descriptors to a pipe that its supervisor reads (`divert`), and keeps duplicates for its own output. Inside
a command (`separate_library_output`), `sys.stdout` and `sys.stderr` are the pipe too: what the tool itself prints goes
to `user_stdout()` and `user_stderr()`. Without a supervisor nothing is diverted, and these are `sys.stdout` and
`sys.stderr`.

All of these streams take any text: what their encoding does not have, and unpaired surrogates, they write as escapes.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TextIO

from models.text import split_lines

KEPT_BYTES = 1 << 16
"""What is kept of the output of libraries: its end."""
MAX_LAST_LINE = 300
STANDARD = (1, 2)
"""The descriptors of stdout and stderr."""
NAMES = {
    f"{folder}/{name}": number
    for number, word in zip(STANDARD, ("stdout", "stderr"), strict=True)
    for folder, name in (("/dev", word), ("/dev/fd", number), ("/proc/self/fd", number))
}
"""{path that opens a standard descriptor of the process: its number}."""
BLOCKS = 16
"""What the supervisor reads at most before it looks at its worker again, in blocks of KEPT_BYTES."""

_own: dict[int, TextIO] = {}
"""{descriptor: the user's stream}, where it is diverted."""


def user_stdout() -> TextIO:
    """Return the stream to the user's stdout."""
    return _own.get(1, sys.stdout)


def user_stderr() -> TextIO:
    """Return the stream to the user's stderr."""
    return _own.get(2, sys.stderr)


def open_standard() -> None:
    """Open what was closed by who started the tool (`2>&-`): otherwise the next file would get its number."""
    for number in (0, *STANDARD):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number


def accept_any_text() -> None:
    """Let stdout and stderr write as an escape what their encoding does not have, instead of failing."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def divert(pipe: int) -> None:
    """Give the descriptors of stdout and stderr to a pipe; `sys.stdout` and `sys.stderr` are still the user's.

    Args:
        pipe: its writing end, which is closed: the standard descriptors are its only copies.
    """
    for number, stream in zip(STANDARD, (sys.stdout, sys.stderr), strict=True):
        stream.flush()
        _own[number] = open(  # noqa: SIM115, PTH123 - open until the process ends
            os.dup(number),
            "w",
            encoding=stream.encoding,
            errors="backslashreplace",
            buffering=1 if stream.isatty() or number == 2 else -1,
        )
        os.dup2(pipe, number)
    os.close(pipe)
    sys.stdout, sys.stderr = user_stdout(), user_stderr()


@contextlib.contextmanager
def separate_library_output() -> Generator[None]:
    """Let what libraries print by Python go where their C++ code prints, for the block."""
    if not _own:
        yield
        return
    stdout, stderr = sys.stdout, sys.stderr
    stdout.flush()
    sys.stdout, sys.stderr = _library_stream(1), _library_stream(2)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = stdout, stderr


def silence() -> None:
    """Discard what is printed from now on, where library output is separate: the tool has printed its own output."""
    if _own:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = _library_stream(1), _library_stream(2)


def standard_stream(path: Path) -> TextIO | None:
    """Return the user's stream that a path such as `/dev/stdout` names, where that is diverted; else None."""
    return _own.get(NAMES.get(str(path), 0))


def last_line(printed: bytes) -> str:
    """Return the last line that libraries printed, for the message about a crash; empty without one."""
    lines = split_lines(printed.decode("utf-8", "replace"))
    return lines[-1][-MAX_LAST_LINE:] if lines else ""


class Chatter:
    """The supervisor's side of the pipe: it reads what libraries print, so that they can go on, and keeps the end."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self._kept = b""

    def read(self) -> bool:
        """Read what is there; return whether more can come."""
        try:
            for _ in range(BLOCKS):
                if not (block := os.read(self.reading, KEPT_BYTES)):
                    return False
                self._kept = (self._kept + block)[-KEPT_BYTES:]
        except BlockingIOError:
            pass
        return True

    def last_line(self) -> str:
        """Return the last line that was printed; see `last_line`."""
        self.read()
        return last_line(self._kept)


def _library_stream(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
