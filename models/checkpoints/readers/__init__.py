"""One reader per kind of file. A reader answers the file's tensors under the file's own names and executes nothing."""

from collections.abc import Callable
from pathlib import Path

from models.checkpoints.readers.base import RawCheckpoint
from models.checkpoints.readers.safetensors_file import read_safetensors
from models.checkpoints.readers.torch_file import read_torch
from models.errors import CheckpointError
from models.files import require_file

READERS: dict[str, Callable[[Path], RawCheckpoint]] = {
    ".pth": read_torch,
    ".pt": read_torch,
    ".pickle": read_torch,
    ".pkl": read_torch,
    ".tar": read_torch,
    ".safetensors": read_safetensors,
}
"""By the file name's last suffix: `model.pth.tar` is read as `.tar`."""


def read_file(path: Path) -> RawCheckpoint:
    """Read `path` with the reader of its suffix.

    Raises:
        CheckpointError: no such file, not a file, empty, of an unknown kind, or refused by its reader.
    """
    if require_file(path, "checkpoint", CheckpointError) == 0:
        raise CheckpointError(f"the checkpoint is empty (0 bytes): {path}")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise CheckpointError(f"{path}: unknown kind of checkpoint {path.suffix!r}; known are {', '.join(READERS)}")
    try:
        return reader(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
