"""What a user asks of a model file before it is opened: the options that every request for one has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class LoadChecks:
    """What a model file must be before it is opened, and whether one that is code may run.

    Attributes:
        trust: run files that are code (TorchScript, `.pt2`, AOTInductor, TensorRT) even if this tool did not write them
            here: their makers can then do whatever the user can.
        verify_keys: Ed25519 public keys, one of which must have signed the manifest: PEM files, or the keys themselves
            in base64 or hexadecimal. None are asked for without any. A file whose signature holds may run.
        expect_sha256: SHA-256 that the file must have, in hexadecimal: the model file, or the manifest where the
            artifact is named by it, whose hashes cover every file.
    """

    trust: bool = False
    verify_keys: tuple[str | Path, ...] = ()
    expect_sha256: str | None = None


@dataclass(frozen=True)
class Vouched:
    """Which files that are code may run, besides those that `exporter.trust` has recorded.

    Attributes:
        everything: whatever the file holds.
        sha256: files of these hashes.
    """

    everything: bool = False
    sha256: tuple[str, ...] = ()


RECORDED_ONLY = Vouched()
