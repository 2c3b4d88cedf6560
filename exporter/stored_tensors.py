"""The hash of each weight of a model file, as the manifest's field `tensors` records it.

A format lists where its weights lie (`StoredTensor`), by its own reader, without an engine's library. The bytes are
hashed from there, several weights at a time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import ArtifactError

CHUNK = 1 << 20
MAX_THREADS = 4
"""Hashing runs at the speed of memory with a few."""


@dataclass(frozen=True)
class StoredTensor:
    """A weight, and where its values are.

    Attributes:
        name: its name in the model file.
        dtype: see `tensor_sha256`.
        shape: its sizes.
        path: the file that holds its values.
        offset: where they begin.
        length: their bytes.
        values: the values themselves, where the file holds them in another form than `tensor_sha256` takes.
        strides: steps between the values of each axis, in values, where the file does not hold them in C order.
        itemsize: bytes of a value, where there are strides.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    offset: int
    length: int
    values: bytes | None = None
    strides: tuple[int, ...] | None = None
    itemsize: int = 1

    def read(self) -> bytes:
        """Return the values.

        Raises:
            ArtifactError: the file does not hold them.
        """
        data = b"".join(_chunks(self))
        return data if self._is_ordered() else self._reorder(data)

    def sha256(self) -> str:
        """Return the hash; raises as `read` does."""
        return _digest(self.dtype, self.shape, _chunks(self) if self._is_ordered() else (self.read(),))

    def _is_ordered(self) -> bool:
        """Return whether the file holds the values in C order, without gaps."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides or ()), strict=self.strides is not None):
            if size != 1 and stride != step:
                return False
            step *= size
        return True

    def _reorder(self, data: bytes) -> bytes:
        import numpy as np

        steps = tuple(stride * self.itemsize for stride in self.strides or ())
        return np.ndarray(self.shape, np.dtype(f"V{self.itemsize}"), data, strides=steps).tobytes()


@dataclass(frozen=True)
class StoredModel:
    """What a model file states of itself, read without an engine's library.

    Attributes:
        manifest: the JSON of the manifest inside it; None if there is none.
        tensors: its weights; None where its format does not list them.
        data: the names of the other files that hold weights of it.
    """

    manifest: str | None
    tensors: tuple[StoredTensor, ...] | None
    data: tuple[str, ...] = ()


def tensor_sha256(dtype: str, shape: Sequence[int], data: bytes | memoryview) -> str:
    """Return the SHA-256 of a weight: of the line `float32[64,3,3,3,3]` in ASCII with a newline, then of its values.

    Args:
        dtype: NumPy's name; of types that NumPy lacks, ONNX's in lower case: `bfloat16`, `int4`, `float8e4m3fn`.
        shape: its sizes; none for a scalar.
        data: the values in C order, little-endian. Types below 8 bits are packed as the file holds them: the first
            value in the lowest bits.
    """
    return _digest(dtype, shape, (data,))


def hash_tensors(tensors: Iterable[StoredTensor]) -> dict[str, str]:
    """Return {name: hash} of weights, in their order.

    Raises:
        ArtifactError: a file does not hold them.
    """
    given = tuple(tensors)
    largest_first = sorted(given, key=lambda tensor: -tensor.length)
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        hashes = zip(largest_first, pool.map(StoredTensor.sha256, largest_first), strict=True)
        found = {tensor.name: sha256 for tensor, sha256 in hashes}
    return {tensor.name: found[tensor.name] for tensor in given}


def _digest(dtype: str, shape: Sequence[int], chunks: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256(f"{dtype}[{','.join(map(str, shape))}]\n".encode("utf-8", "replace"))
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(tensor: StoredTensor) -> Iterable[bytes | memoryview]:
    if tensor.values is not None:
        yield tensor.values
        return
    left, buffer = tensor.length, memoryview(bytearray(min(CHUNK, tensor.length)))
    try:
        with tensor.path.open("rb", buffering=0) as stream:
            stream.seek(tensor.offset)
            while left and (got := stream.readinto(buffer[: min(CHUNK, left)])):
                yield buffer[:got]
                left -= got
    except (OSError, ValueError, OverflowError) as error:
        raise ArtifactError(f"cannot read the weight {tensor.name} in {tensor.path}: {error}") from error
    if left:
        raise ArtifactError(f"{tensor.path}: ends before the values of {tensor.name} do")
