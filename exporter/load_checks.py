"""What a user asks of a model file before it is opened: the options that every request for one has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LoadChecks:
    """What a model file must be before it is opened, and whether one that is code may run.

    Attributes:
        trust: run files that are code (TorchScript, `.pt2`, AOTInductor, TensorRT) even if this tool did not write them
            here: their makers can then do whatever the user can.
    """

    trust: bool = False


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
