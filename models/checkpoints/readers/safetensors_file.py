"""Reads `.safetensors`: a JSON header of names, dtypes, shapes and offsets, then raw bytes. Nothing to execute."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from models.checkpoints.readers.base import RawCheckpoint, hash_stream
from models.errors import CheckpointError, listing

LENGTH_BYTES = 8
MOST_HEADER = 100_000_000  # the format's own limit


def read_safetensors(path: Path) -> RawCheckpoint:
    """Read a safetensors file.

    Raises:
        CheckpointError: truncated, not safetensors, or a name that stands twice (the library takes the last one).
    """
    with path.open("rb") as stream:
        sha256 = hash_stream(stream)
        length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
        size = path.stat().st_size
        if length > min(MOST_HEADER, size - LENGTH_BYTES):
            raise CheckpointError(f"{path}: not a safetensors file, or truncated (its header claims {length} bytes)")
        _refuse_duplicates(path, stream.read(length))
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a sound safetensors file: {error}") from error
    return RawCheckpoint(tensors, "safetensors", "", sha256, size)


def _refuse_duplicates(path: Path, header: bytes) -> None:
    twice: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice.extend(sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else [])
        return dict(pairs)

    try:
        json.loads(header, object_pairs_hook=note)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a safetensors file: its header is not JSON") from error
    if twice:
        raise CheckpointError(f"{path}: names that stand twice in its header: {listing(twice)}")
