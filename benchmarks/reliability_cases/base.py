"""What a family of cases gives: rows, each a promise with the number of cases that tried it and those that broke it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAX_SHOWN = 5
"""Failures of a row that are printed."""


@dataclass
class Row:
    """A row of the table.

    Attributes:
        promise: what is promised.
        how: how it is tried.
        count: cases.
        outcomes: {outcome: cases}.
        failures: a line for each case that broke the promise, with what brings it back.
        seconds: that it took.
    """

    promise: str
    how: str
    count: int = 0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    failures: list[str] = field(default_factory=list[str])
    seconds: float = 0.0

    def add(self, outcome: str, failure: str = "") -> None:
        """Count a case."""
        self.count += 1
        self.outcomes[outcome] += 1
        if failure:
            self.failures.append(failure[:400])

    @property
    def summary(self) -> str:
        """Its outcomes: `118 refused, 2 loaded`."""
        return ", ".join(f"{number:,} {outcome}" for outcome, number in self.outcomes.most_common())


@dataclass(frozen=True)
class Run:
    """How the cases are run.

    Attributes:
        folder: for files; it is in memory where the system has `/dev/shm`.
        long: the full counts.
    """

    folder: Path
    long: bool

    def choose(self, short: int, long: int) -> int:
        """Return the number of cases."""
        return long if self.long else short


Family = Callable[[Run], Iterator[Row]]
"""Yields rows as they are finished."""


class Progress:
    """Prints how far a row is, at most once in five seconds."""

    EVERY = 5.0

    def __init__(self, row: Row, total: int) -> None:
        self._row, self._total = row, total
        self._start = self._last = time.monotonic()

    def step(self) -> None:
        """A case has ended."""
        now = time.monotonic()
        if now - self._last > self.EVERY:
            self._last = now
            print(
                f"  … {self._row.promise}: {self._row.count:,} of {self._total:,}, {now - self._start:.0f} s, "
                f"{len(self._row.failures)} failures",
                file=sys.stderr,
                flush=True,
            )

    def end(self) -> Row:
        """Return the row with its time."""
        self._row.seconds = time.monotonic() - self._start
        return self._row
