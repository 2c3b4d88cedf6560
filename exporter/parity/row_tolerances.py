"""An artifact's tolerance on each row of an input set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from exporter.parity.tolerance import SnrTolerance, StoredWeightsTolerance, Tolerance
from models.errors import count

UNCALIBRATED_SNR = -20 * math.log10(2)
"""Decibels where no ranges were calibrated: two vectors of one length differ by at most twice that."""


@dataclass(frozen=True)
class AccuracyBound:
    """The accuracy that an artifact below float32 is held to.

    Attributes:
        min_snr_db: the lowest signal-to-noise ratio that passes on the inputs that it applies to, in decibels.
        min_top1: the fraction of those whose highest class must be that of float64; None for no limit.
        applies: to clips held out from calibration and to what the user gives (`given`); where there are none, to the
            packaged clip too (`packaged`); or to every input (`all`).
    """

    min_snr_db: float
    min_top1: float | None = None
    applies: Literal["given", "packaged", "all"] = "given"


@dataclass(frozen=True)
class Tolerances:
    """An artifact's tolerance on each row of an input set.

    Attributes:
        regular: on all other rows.
        held_out: on batches of `rows` alone.
        rows: the rows that it is held to an `AccuracyBound` on.
        uncalibrated: the rows that no value range was calibrated for: inputs that are no videos, of an artifact in
            int8. Values outside the ranges saturate, and small ones vanish in the steps between two numbers, so that
            an output of the signal's size that points elsewhere is no fault there.
        signals: {output: the largest root mean square of the calibrated kind of clips}, to which noise of the others is
            compared where their own output is smaller.
        rounding: {(row, output): the error that rounding stored weights makes}, see `moved_weights`.
    """

    regular: Tolerance
    held_out: SnrTolerance | None = None
    rows: frozenset[int] = frozenset()
    uncalibrated: frozenset[int] = frozenset()
    signals: Mapping[str, float] = field(default_factory=dict[str, float])
    rounding: Mapping[tuple[int, str], float] = field(default_factory=dict[tuple[int, str], float])

    def of(self, rows: Sequence[int], output: str = "") -> Tolerance:
        """Return the tolerance of an output on a batch of rows."""
        if self.held_out is not None and self.rows.issuperset(rows):
            return self.held_out
        if isinstance(self.regular, StoredWeightsTolerance):
            errors = tuple(self.rounding[row, output] for row in rows if (row, output) in self.rounding)
            return replace(self.regular, rounding=errors)
        if self.uncalibrated.isdisjoint(rows) or not isinstance(self.regular, SnrTolerance):
            return self.regular
        return replace(self.regular, min_snr_db=UNCALIBRATED_SNR, min_signal=self.signals.get(output, 0.0))

    @property
    def description(self) -> str:
        """The tolerances in words."""
        regular, held_out = self.regular, self.held_out
        if held_out is regular or not isinstance(regular, SnrTolerance):
            return (held_out or regular).description
        if held_out is None and not self.uncalibrated:
            return regular.description
        kind = "video" if self.uncalibrated else "input"
        verified = f"{held_out.min_snr_db:g} dB on {count(len(self.rows), 'evaluation clip')} and " if held_out else ""
        text = (
            f"{regular.precision}: signal to noise at least {verified}{regular.min_snr_db:g} dB on every "
            f"{'other ' if held_out else ''}{kind}, top-1 of at least {regular.min_top1:.0%} of the {kind}s"
        )
        return f"{text}; noise of at most twice the signal on inputs that are no videos" if self.uncalibrated else text
