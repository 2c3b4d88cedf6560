"""Reads `.safetensors`: a JSON header of names, dtypes, shapes and offsets, then raw bytes. Nothing to execute.

The safetensors library validates the file and maps its tensors. What this project's `convert` wrote also says which
conventions its weights follow, in the header's metadata.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from models.checkpoints.metadata import read_conventions
from models.checkpoints.readers.base import MappedFile, ReadResult
from models.errors import CheckpointError, join_limited

LENGTH_BYTES = 8
MAX_HEADER = 100_000_000  # the format's own limit


def is_safetensors(file: MappedFile) -> bool:
    """Return whether the file begins with a length and a JSON object."""
    return file.data[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{"


def read_safetensors(file: MappedFile) -> ReadResult:
    """Read a safetensors file; its tensors are mapped.

    Raises:
        CheckpointError: truncated, not safetensors, or a duplicate name (the library takes the last one).
    """
    length = int.from_bytes(file.data[:LENGTH_BYTES], "little")
    if length > min(MAX_HEADER, file.size - LENGTH_BYTES):
        raise CheckpointError(f"{file.path}: not a safetensors file, or truncated (its header claims {length} bytes)")
    _refuse_duplicates(file.path, file.data[LENGTH_BYTES : LENGTH_BYTES + length])
    try:
        with safe_open(file.openable, framework="pt", device="cpu") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
            metadata = opened.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(f"{file.path}: not a valid safetensors file: {error}") from error
    reported = read_conventions(file.path, metadata)
    source = (
        f"{reported.source.file} ({reported.source.layout}, SHA-256 {reported.source.sha256})"
        if reported.source
        else ""
    )
    return ReadResult(
        tensors,
        "safetensors",
        pool5=reported.pool5,
        preprocessing=reported.preprocessing,
        source=source,
        variant=reported.variant,
        input_size=reported.input_size,
        class_names=reported.class_names,
    )


def _refuse_duplicates(path: Path, header: bytes) -> None:
    twice: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            seen: set[str] = set()
            twice.extend(sorted({name for name in names if name in seen or seen.add(name)}))
        return dict(pairs)

    try:
        json.loads(header, object_pairs_hook=note)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a safetensors file: its header is not JSON") from error
    if twice:
        raise CheckpointError(f"{path}: duplicate names in its header: {join_limited(twice)}")
