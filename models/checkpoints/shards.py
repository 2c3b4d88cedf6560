"""Checkpoints in shards, as Hugging Face's libraries save large models: an index in JSON, and its files beside it.

`model.safetensors.index.json` has `{"metadata": {…}, "weight_map": {tensor: file}}`, and so has
`pytorch_model.bin.index.json`. The files are `model-00001-of-00003.safetensors` and so on.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from models.checkpoints.contents import MAX_KEY_LENGTH, MAX_TENSORS
from models.errors import CheckpointError, join_limited
from models.paths import is_plain_name
from models.text import shorten

INDEX_SUFFIX = ".index.json"
USUAL_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Of a folder the first of these is taken, as transformers does."""
WEIGHT_MAP = b'"weight_map"'
"""Key of the table, which no other JSON file has whose name ends so."""
MAX_INDEX = 4 << 20
"""Bytes: as of a safetensors header, which has the same names."""
MAX_SHARDS = 64
"""Each is read within the limits of its own format."""

MAX_NAME = 255
"""Characters of a file's name: no file system has longer ones."""

_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(\.[a-z]+)")


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def find_hub_checkpoint(path: Path) -> Path | None:
    """Return the file to read of a checkpoint of Hugging Face's libraries: the only one, or the index of the shards.

    It is found by the index, one of the shards, or the folder.

    Args:
        path: as the user gave it.

    Returns:
        None if `path` belongs to no such checkpoint.

    Raises:
        CheckpointError: a folder of several.
    """
    if path.is_dir():
        if usual := next((path / name for name in USUAL_NAMES if (path / name).is_file()), None):
            return usual
        found = sorted(one for one in path.glob(f"*{INDEX_SUFFIX}") if one.is_file() and _has_table(one))
        if len(found) > 1:
            names = join_limited(one.name for one in found)
            raise CheckpointError(f"{path}: a folder of {len(found)} checkpoints in shards; give one of {names}")
        return found[0] if found else None
    if path.name.endswith(INDEX_SUFFIX):
        return path if path.is_file() else None
    if (shard := _SHARD.fullmatch(path.name)) is not None:
        index = path.with_name(f"{shard[1]}{shard[2]}{INDEX_SUFFIX}")
        return index if index.is_file() else None
    return None


def _has_table(path: Path) -> bool:
    with path.open("rb") as stream:
        return WEIGHT_MAP in stream.read(MAX_INDEX)


def parse_index(content: bytes) -> dict[str, str]:
    """Return {tensor: file} of an index. The files are plain names, in the index's own folder.

    Raises:
        CheckpointError: no index, larger than a limit, or a file of another folder.
    """
    if len(content) > MAX_INDEX:
        raise CheckpointError(f"an index of {len(content):,} bytes, more than {MAX_TENSORS} tensors take")
    try:
        files = msgspec.json.decode(content, type=_Index).weight_map
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"not an index of shards: {error}") from error
    if not 0 < len(files) <= MAX_TENSORS:
        raise CheckpointError(f"an index of {len(files)} tensors; it may have 1 to {MAX_TENSORS}")
    names = set(files.values())
    if len(names) > MAX_SHARDS:
        raise CheckpointError(f"an index of {len(names)} shards: more than {MAX_SHARDS}; save it with larger ones")
    if outside := sorted(name for name in names if not is_plain_name(name) or len(name) > MAX_NAME):
        raise CheckpointError(f"its shard {shorten(repr(outside[0]), 80)} is no file of the index's own folder")
    if long := [name for name in files if len(name) > MAX_KEY_LENGTH]:
        raise CheckpointError(f"a tensor's name of {len(long[0]):,} characters: more than {MAX_KEY_LENGTH}")
    return files
