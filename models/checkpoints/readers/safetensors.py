"""Reads `.safetensors`: a JSON header of names, dtypes, shapes and offsets, then raw bytes. Nothing to execute.

The safetensors library validates the file; its tensors are then mapped at the offsets that the header states. What this
project's `convert` wrote also says which conventions its weights follow, in the header's metadata.
"""

import json
from typing import Any

from safetensors import SafetensorError, safe_open

from models.checkpoints.contents import MAX_TENSORS
from models.checkpoints.dtypes import DTYPES
from models.checkpoints.file_tensor import MAX_AXES, FileTensor
from models.checkpoints.metadata import read_conventions
from models.checkpoints.readers.base import MappedFile, ReadResult
from models.errors import CheckpointError, join_limited

LENGTH_BYTES = 8
METADATA = "__metadata__"
DTYPE_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}
"""{the format's name of a dtype: torch's}."""
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
        raise CheckpointError(f"not a safetensors file, or truncated (its header claims {length} bytes)")
    if length > MAX_HEADER:
        raise CheckpointError(f"its header has {length:,} bytes, more than {MAX_TENSORS} tensors take")
    header = _check_header(file.data[LENGTH_BYTES : LENGTH_BYTES + length])
    try:
        with safe_open(file.openable, framework="np") as opened:
            names, metadata = opened.keys(), opened.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(f"not a valid safetensors file: {error}") from error
    tensors = {name: _tensor(file, name, header[name], LENGTH_BYTES + length) for name in names}
    return ReadResult(tensors, "safetensors", read_conventions(metadata))


def _tensor(file: MappedFile, name: str, entry: dict[str, Any], start: int) -> FileTensor:
    """Return a tensor by its entry in the header, which the library has validated."""
    if entry["dtype"] not in DTYPE_NAMES:
        raise CheckpointError(f"{name} holds {entry['dtype']}, which is not read")
    first, last = entry["data_offsets"]
    return file.tensor(name, DTYPES[DTYPE_NAMES[entry["dtype"]]], tuple(entry["shape"]), start + first, last - first)


def _check_header(header: bytes) -> dict[str, Any]:
    """Return the header's entries.

    Names that stand twice, and more tensors or axes than there can be, are refused before the library reads them.
    """
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
        raise CheckpointError("not a safetensors file: its header is not JSON") from error
    if twice:
        raise CheckpointError(f"duplicate names in its header: {join_limited(twice)}")
    tensors = [entry for name, entry in content.items() if name != METADATA] if isinstance(content, dict) else []
    if len(tensors) > MAX_TENSORS:
        raise CheckpointError(f"{len(tensors)} tensors: more than {MAX_TENSORS}")
    shapes = [entry.get("shape") for entry in tensors if isinstance(entry, dict)]
    if any(isinstance(shape, list) and len(shape) > MAX_AXES for shape in shapes):
        raise CheckpointError(f"a tensor claims more than {MAX_AXES} axes, which no tensor has")
    return content
