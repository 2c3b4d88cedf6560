"""Where a network's parameters came from, as `BuiltModel` and an artifact's manifest carry it."""

from __future__ import annotations

from dataclasses import dataclass

from models.config import Pool5
from models.options import WeightSelection


@dataclass(frozen=True)
class CheckpointInfo:
    """The checkpoint that a network's weights came from.

    Attributes:
        file: its file name.
        sha256: SHA-256 of the file.
        container: the file format.
        layout: the layout that was detected or chosen.
        loaded: tensors taken from it.
        total: tensors the network has.
        values: numbers taken from it.
        reinitialized: names that were initialised instead (only a new head, when asked for).
        converted: dtypes that were converted to float32.
        ignored_keys: its tensors that only training needs.
        pool5: the convention that the file or its origin states; None where neither does.
        url: where it was downloaded from, without what might be secret; None for a local file.
        path: where it was read; in a manifest relative to the manifest's folder, POSIX; None inside a model file.
        selection: which of the file's tensors were taken; with it `verify` finds them again.
        notes: where in the file the tensors were, what was assumed, and what was left out.
    """

    file: str
    sha256: str
    container: str
    layout: str
    loaded: int
    total: int
    values: int
    reinitialized: tuple[str, ...] = ()
    converted: tuple[str, ...] = ()
    ignored_keys: tuple[str, ...] = ()
    pool5: Pool5 | None = None
    url: str | None = None
    path: str | None = None
    selection: WeightSelection | None = None
    notes: tuple[str, ...] = ()
