"""The inputs of a verification as rows, and the batches that refer to them.

Rows are made once and batches refer to them, so the float64 reference of a row is computed once however many batches
contain it. Where a model has no batch axis, a row is a whole input of the model, and runs by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.parity.input_types import CONSTANT, EDGE_CASES
from exporter.parity.sequences import pack

Arrays = dict[str, NDArray[Any]]
"""{name: array}: the inputs of a row, or the outputs of a model."""

BATCH_SIZES = (2, 3)
"""The larger batches for an artifact with a dynamic batch: an even size and an odd one."""


@dataclass(frozen=True)
class InputBatch:
    """A batch that an artifact is run on: its name, and the rows of the input set that it consists of."""

    name: str
    rows: tuple[int, ...]


@dataclass(frozen=True)
class InputSet:
    """The inputs of a verification, one row each.

    Attributes:
        feeds: a row's inputs as the reference takes them, {input: array}. Floating-point numbers of up to 32 bits are
            float32, integers int64, text `object`.
        names: the name of each row.
        frames: {row: (time, height, width, 3) uint8 RGB} for the rows that are real clips.
        batched: the first axis of every array is the batch and has size 1, so that rows can be run together. Otherwise
            a row is run by itself, and its outputs are compared whole.
        notes: what a report must say about the inputs.
        sequences: {input that is a sequence: its items, which are inputs of their own in `feeds`}.
        emptied: the inputs that hold no numbers in any feed although the model does not demand that.
        batch: a batch size of the user, which is run besides those of `BATCH_SIZES`.
        given: the rows that the user gave: videos and arrays.
        held_out: the rows of clips held out from calibration, on which an export is verified below float32.
    """

    feeds: tuple[Arrays, ...]
    names: tuple[str, ...]
    frames: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict[int, NDArray[np.uint8]])
    batched: bool = True
    notes: tuple[str, ...] = ()
    sequences: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    emptied: tuple[str, ...] = ()
    batch: int | None = None
    given: tuple[int, ...] = ()
    held_out: tuple[int, ...] = ()

    @classmethod
    def of_rows(
        cls, rows: Arrays, names: Sequence[str], frames: Mapping[int, NDArray[np.uint8]] | None = None
    ) -> InputSet:
        """Return batched inputs from {input: (rows, …)}."""
        feeds = [{name: values[i : i + 1] for name, values in rows.items()} for i in range(len(names))]
        return cls(tuple(feeds), tuple(names), frames or {})

    def select(self, rows: Sequence[int]) -> dict[str, Any]:
        """Return the feeds of some rows together, {input: (len(rows), …)}; of one row, its own feed.

        A sequence is a list of arrays; its rows cannot be run together.
        """
        if len(rows) == 1:
            return pack(self.feeds[rows[0]], self.sequences)
        return {name: np.concatenate([self.feeds[row][name] for row in rows]) for name in self.feeds[rows[0]]}

    def only(self, row: int) -> InputSet:
        """Return the input set of one row."""
        return replace(self, feeds=(self.feeds[row],), names=(self.names[row],), frames={})

    def regular(self, rows: Sequence[int]) -> bool:
        """Return whether none of the rows is an edge case."""
        return not {self.names[row] for row in rows} & {*EDGE_CASES}

    @property
    def mixed(self) -> tuple[tuple[int, ...], ...]:
        """The rows of the larger batches: of each size, the last rows that are neither edge cases nor constant.

        They are of one shape, that of most rows. A batch of the user repeats them.
        """
        rows = [row for row, name in enumerate(self.names) if name not in (*EDGE_CASES, *CONSTANT)]
        if not self.batched or not rows:
            return ()
        varied = max(self.by_shape(rows), key=len)
        groups = [tuple(varied[-size:]) for size in BATCH_SIZES if len(varied) >= size]
        if self.batch is not None and self.batch > max(BATCH_SIZES):
            groups.append(tuple(varied[item % len(varied)] for item in range(self.batch)))
        return tuple(groups)

    def batches(self, batch: int | None, skip: Sequence[str] = ()) -> tuple[InputBatch, ...]:
        """Return the batches: every row on its own, then 2 and 3 different rows, whose items must not interact.

        Rows of different shapes are not run together; nor, where the batch size is fixed, rows of held-out clips with
        others.

        Args:
            batch: the artifact's fixed batch size, which the rows then fill in order; None where it is dynamic.
            skip: input types to leave out.
        """
        rows = [row for row, name in enumerate(self.names) if name not in skip]
        if batch is not None and self.batched:
            parts = [[row for row in rows if (row in self.held_out) == held_out] for held_out in (False, True)]
            groups = [
                tuple(alike[(start + i) % len(alike)] for i in range(batch))
                for part in parts
                for alike in self.by_shape(part)
                for start in range(0, len(alike), batch)
            ]
        else:
            mixed = [group for group in self.mixed if not {self.names[row] for row in group} & {*skip}]
            groups = [*((row,) for row in rows), *mixed]
        return tuple(InputBatch(self._batch_name(group), group) for group in groups)

    def same_shape_rows(self, row: int) -> tuple[int, ...]:
        """Return the rows that can be in a batch with one: those whose inputs have its shapes, itself included."""
        return next(rows for rows in self.by_shape(range(len(self.names))) if row in rows)

    def by_shape(self, rows: Iterable[int]) -> list[tuple[int, ...]]:
        """Return groups of rows whose inputs have the same shapes, which can be run together."""
        groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for row in rows:
            groups.setdefault(tuple(value.shape for value in self.feeds[row].values()), []).append(row)
        return [tuple(group) for group in groups.values()]

    def fill(self, row: int, batch: int | None) -> tuple[int, ...]:
        """Return the rows of a batch that holds one row: repeated where the model's batch size is fixed."""
        return (row,) * (batch or 1) if self.batched else (row,)

    def _batch_name(self, rows: Sequence[int]) -> str:
        names = list(dict.fromkeys(self.names[row] for row in rows))
        return " + ".join(names if len(names) <= max(BATCH_SIZES) else [names[0], names[1], f"{len(names) - 2} more"])
