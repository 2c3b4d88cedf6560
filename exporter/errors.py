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

Anything else is a bug: the command line says so in one line (exit code 70) and `--debug` shows the traceback.
"""

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
    "OutputError",
    "UnavailableError",
    "UsageError",
    "VideoError",
    "join_limited",
]


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


class LimitError(C3DExportError):
    """A limit of time or memory was reached, or would be."""

    exit_code = 5
