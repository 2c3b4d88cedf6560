"""Reads `.safetensors`: a JSON header of names, dtypes, shapes and offsets, then raw bytes. Nothing to execute.

The safetensors library validates the file and maps its tensors. What this project's `convert` wrote also says which
conventions its weights follow, in the header's metadata.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from models.checkpoints.contents import MAX_TENSORS
from models.checkpoints.metadata import read_conventions
from models.checkpoints.readers.base import MAX_AXES, MappedFile, ReadResult
from models.errors import CheckpointError, join_limited

LENGTH_BYTES = 8
METADATA = "__metadata__"
MAX_HEADER = 4 << 20
"""The format's own limit is 100 MB. MAX_TENSORS names take 2 MB; JSON takes a hundred times its bytes in memory."""


def is_safetensors(file: MappedFile) -> bool:
    """Return whether the file begins with a length and a JSON object."""
    return file.data[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{"


def read_safetensors(file: MappedFile) -> ReadResult:
    """Read a safetensors file; its tensors are mapped.

    Raises:
        CheckpointError: truncated, not safetensors, or a duplicate name (the library takes the last one).
    """
    length = int.from_bytes(file.data[:LENGTH_BYTES], "little")
    if length > file.size - LENGTH_BYTES:
        raise CheckpointError(f"{file.path}: not a safetensors file, or truncated (its header claims {length} bytes)")
    if length > MAX_HEADER:
        raise CheckpointError(f"{file.path}: its header has {length:,} bytes, more than {MAX_TENSORS} tensors take")
    _check_header(file.path, file.data[LENGTH_BYTES : LENGTH_BYTES + length])
    try:
        with safe_open(file.openable, framework="pt", device="cpu") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
            metadata = opened.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(f"{file.path}: not a valid safetensors file: {error}") from error
    return ReadResult(tensors, "safetensors", read_conventions(file.path, metadata))


def _check_header(path: Path, header: bytes) -> None:
    """Refuse names that stand twice, and more tensors or axes than there can be, before the library reads them."""
    twice: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            seen: set[str] = set()
            twice.extend(sorted({name for name in names if name in seen or seen.add(name)}))
        return dict(pairs)

    try:
        content: Any = json.loads(header, object_pairs_hook=note)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a safetensors file: its header is not JSON") from error
    if twice:
        raise CheckpointError(f"{path}: duplicate names in its header: {join_limited(twice)}")
    tensors = [entry for name, entry in content.items() if name != METADATA] if isinstance(content, dict) else []
    if len(tensors) > MAX_TENSORS:
        raise CheckpointError(f"{path}: {len(tensors)} tensors: more than {MAX_TENSORS}")
    shapes = [entry.get("shape") for entry in tensors if isinstance(entry, dict)]
    if any(isinstance(shape, list) and len(shape) > MAX_AXES for shape in shapes):
        raise CheckpointError(f"{path}: a tensor claims more than {MAX_AXES} axes, which no tensor has")
