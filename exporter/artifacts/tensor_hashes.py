"""The hash of one weight, as the manifest's field `tensors` records it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def tensor_sha256(dtype: str, shape: Sequence[int], data: bytes | memoryview) -> str:
    """Return the SHA-256 of a weight: of the line `float32[64,3,3,3,3]` in ASCII with a newline, then of its values.

    Args:
        dtype: NumPy's name; of types that NumPy lacks, ONNX's in lower case: `bfloat16`, `int4`, `float8e4m3fn`.
        shape: its sizes; none for a scalar.
        data: the values in C order, little-endian. Types below 8 bits are packed as the file holds them: the first
            value in the lowest bits.
    """
    digest = hashlib.sha256(f"{dtype}[{','.join(map(str, shape))}]\n".encode("ascii"))
    digest.update(data)
    return digest.hexdigest()
