"""Which file of a TensorFlow checkpoint to read, given any of its files, its prefix, its state file or its folder.

A checkpoint of version 2 is `X.index` and `X.data-0000i-of-0000n`, often with a graph in `X.meta`; `X` itself, which
TensorFlow's own functions take, is no file. The state file `checkpoint` names the newest one, and a SavedModel's folder
keeps one in `variables`. Only the last part of a path in the state file is used, in the state file's own folder.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from models.errors import CheckpointError, join_limited
from models.paths import is_plain_name

STATE_FILE = "checkpoint"
SAVED_MODEL = "saved_model.pb"
VARIABLES = Path("variables", "variables.index")
MAX_STATE = 1 << 16
_NEWEST = re.compile(rb'^\s*model_checkpoint_path:\s*"([^"\n]*)"', re.MULTILINE)
_DATA = re.compile(r"(.+)\.data-\d{5}-of-\d{5}")


def find_tf_checkpoint(path: Path) -> Path | None:
    """Return the file that holds the variables' names, `.index` or version 1's only file.

    Args:
        path: as the user gave it.

    Returns:
        None if `path` is none of a TensorFlow checkpoint's other files, or is to be read itself.

    Raises:
        CheckpointError: it belongs to a checkpoint whose index is not there.
    """
    if path.is_dir():
        return _in_folder(path)
    if not path.exists():
        index = path.with_name(f"{path.name}.index")
        return index if index.is_file() else None
    if path.name == SAVED_MODEL:
        return _required(path, path.with_name(VARIABLES.parts[0]) / VARIABLES.name)
    if path.name == STATE_FILE and (newest := _newest(path)) is not None:
        return _required(path, path.with_name(newest))
    if (data := _DATA.fullmatch(path.name)) is not None:
        return _required(path, path.with_name(data[1]))
    return _required(path, path.with_suffix("")) if path.suffix == ".meta" else None


def _in_folder(folder: Path) -> Path | None:
    if (folder / SAVED_MODEL).is_file():
        return _required(folder, folder / VARIABLES)
    if (folder / STATE_FILE).is_file() and (newest := _newest(folder / STATE_FILE)) is not None:
        return _required(folder / STATE_FILE, folder / newest)
    found = sorted(folder.glob("*.index"))
    if len(found) > 1:
        raise CheckpointError(
            f"{folder}: a folder of {len(found)} TensorFlow checkpoints; give one of "
            f"{join_limited(path.name for path in found)}"
        )
    return found[0] if found else None


def _newest(state: Path) -> str | None:
    """Return the file name of the newest checkpoint that a state file names; None if it is no state file."""
    with state.open("rb") as stream:
        found = _NEWEST.search(stream.read(MAX_STATE))
    if found is None:
        return None
    name = PurePosixPath(found[1].decode("utf-8", "backslashreplace").replace("\\", "/")).name
    if not is_plain_name(name):
        raise CheckpointError(f"{state}: names no checkpoint: model_checkpoint_path is {found[1].decode()!r}")
    return name


def _required(given: Path, prefix: Path) -> Path:
    """Return the index of a checkpoint, or its only file in version 1."""
    index = prefix if prefix.suffix == ".index" else prefix.with_name(f"{prefix.name}.index")
    for path in (index, prefix):
        if path.is_file():
            return path
    raise CheckpointError(f"{given}: a part of a TensorFlow checkpoint whose {index.name} is not there: {index}")
