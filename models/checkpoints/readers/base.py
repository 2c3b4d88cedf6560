"""What every reader answers."""

import hashlib
from dataclasses import dataclass
from typing import BinaryIO

from torch import Tensor

CHUNK = 1 << 22


@dataclass(frozen=True)
class RawCheckpoint:
    """A file's tensors as the file names and lays them out.

    Attributes:
        tensors: {the file's own name: tensor}, on the CPU.
        container: the kind of file, for people and the manifest: `torch zip`, `torch legacy`, `safetensors`.
        wrapper: the key under which the state_dict stood, or an empty string.
        sha256: of the very bytes that were parsed.
        size: of the file, in bytes.
    """

    tensors: dict[str, Tensor]
    container: str
    wrapper: str
    sha256: str
    size: int


def hash_stream(stream: BinaryIO) -> str:
    """Return the SHA-256 of an open file from its start, and leave it at its start."""
    stream.seek(0)
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
    stream.seek(0)
    return digest.hexdigest()
