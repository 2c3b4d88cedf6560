"""A hostile input and what a command did with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 2.0
HEADROOM = 512 << 20
INSPECT = ("c3d-export", "inspect", "{}")


@dataclass(frozen=True)
class Case:
    """A hostile input.

    Attributes:
        name: file name.
        write: writes it.
        command: what is run on it; `{}` is the file, `{folder}` its folder.
        codes: exit codes that are right.
    """

    name: str
    write: Callable[[Path], object]
    command: Sequence[str] = INSPECT
    codes: Sequence[int] = (3,)


@dataclass(frozen=True)
class Result:
    """What a command did with a case: its exit code (negative: a signal), its cost, and what it printed."""

    case: Case
    code: int
    seconds: float
    memory: int
    size: int
    stderr: str

    @property
    def fault(self) -> str:
        """What is wrong with it; empty where nothing is."""
        faults: list[str] = []
        if self.code not in self.case.codes:
            faults.append(f"exit {self.code}")
        if self.code != 0 and self.seconds > SECONDS:  # what is valid runs as long as it needs, to the stated limits
            faults.append(f"{self.seconds:.1f} s")
        if self.memory > 2 * self.size + HEADROOM:
            faults.append(f"{self.memory >> 20} MiB")
        listed = self.case.command[1] == "predict"  # a video that cannot be read is a row of the result
        if self.code == 3 and not listed and (self.stderr.count("\n") != 1 or len(self.stderr) > 600):
            faults.append(f"{self.stderr.count(chr(10))} lines, {len(self.stderr)} characters")
        return ", ".join(faults)


def raw(name: str, content: Callable[[], bytes] | bytes, codes: Sequence[int] = (3,)) -> Case:
    """Return a case whose file has this content, for `inspect`."""
    return Case(name, lambda path: path.write_bytes(content if isinstance(content, bytes) else content()), codes=codes)


def text(name: str, content: Callable[[], str | bytes], command: Sequence[str], codes: Sequence[int] = (3,)) -> Case:
    """Return a case whose file has this content, for any command."""

    def write(path: Path) -> None:
        made = content()
        path.write_bytes(made if isinstance(made, bytes) else made.encode())

    return Case(name, write, command, codes)
