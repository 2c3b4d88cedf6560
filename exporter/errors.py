"""Every error that the tool raises on purpose. Each is printed in one line and decides the exit code.

    C3DExportError
    ├── CheckFailedError        1  a check ran and failed
    │   └── IntegrityError      1  a file is not the one its manifest describes
    ├── UsageError              2  invalid or contradictory options (click's own usage errors are 2 as well)
    ├── BadInputError           3  a file or folder that was given is bad
    │   ├── CheckpointError     3  … as weights
    │   ├── ArtifactError       3  … as an artifact
    │   ├── OutputError         3  … as an output path
    │   └── VideoError          3  … as a video
    ├── UnavailableError        4  a requested engine, device or library is missing
    └── LimitError              5  a limit of time or memory was reached, or would be
        └── OutOfMemoryError    5  … memory ran out (`exporter.memory_errors`)

Anything else is a bug: the command line says so in one line (exit code 70) and `--debug` shows the traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from exporter.results import ParityReport
from models.errors import BadInputError, C3DExportError, CheckpointError, UnavailableError, UsageError, join_limited

__all__ = [
    "ArtifactError",
    "BadInputError",
    "C3DExportError",
    "CheckFailedError",
    "CheckpointError",
    "IntegrityError",
    "LimitError",
    "OutOfMemoryError",
    "OutputError",
    "UnavailableError",
    "UsageError",
    "VideoError",
    "join_limited",
    "refuse_one",
]


MORE_MEMORY = "close other programs, or raise the limit of this process (ulimit -v, a container's)"


class CheckFailedError(C3DExportError):
    """A check ran to its end and failed.

    Attributes:
        reports: the parity reports of the check, if it compared artifacts.
    """

    exit_code = 1
    reports: tuple[ParityReport, ...] = ()


class IntegrityError(CheckFailedError):
    """A file is not the one its manifest describes."""


class ArtifactError(BadInputError):
    """An artifact cannot be read, is of no known format, or has another signature."""


class OutputError(BadInputError):
    """The output folder cannot be written to, or is full."""


class VideoError(BadInputError):
    """A video cannot be read: the line begins with its name."""


Refuse = Callable[[C3DExportError], None]
"""Called with the error of one of several files; the others go on."""


@contextmanager
def refuse_one(refuse: Refuse | None) -> Generator[None]:
    """Give an error that is of one of several files to `refuse` and go on after the block; raise it without `refuse`.

    Wrong usage, a limit that was reached, and bugs are of the whole command, and are raised.
    """
    try:
        yield
    except (BadInputError, CheckFailedError, UnavailableError) as error:
        if refuse is None:
            raise
        refuse(error)


class LimitError(C3DExportError):
    """A limit of time or memory was reached, or would be."""

    exit_code = 5


class OutOfMemoryError(LimitError):
    """Memory ran out: the system's, a limit of the process, or a GPU's.

    Attributes:
        path: the file at work; None where the step names none.
        doing: the step, as it follows `memory ran out while`: `onnxruntime loads it`; or empty.
        reason: the text of the error that said so first; or empty.
    """

    def __init__(self, path: Path | str | None = None, doing: str = "", reason: str = "") -> None:
        self.path, self.doing, self.reason = path, doing, reason
        where = "" if path is None else f"{path}: "
        step = f" while {doing}" if doing else ""
        super().__init__(f"{where}memory ran out{step}{f' ({reason})' if reason else ''}; {MORE_MEMORY}")

    def __reduce__(self) -> tuple[type[OutOfMemoryError], tuple[Path | str | None, str, str]]:
        """Let it pass from one process to another: an exception is otherwise made again from its text."""
        return OutOfMemoryError, (self.path, self.doing, self.reason)
