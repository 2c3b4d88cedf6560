"""Why nodes stayed as they are, in a line for each distinct reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from exporter.passes.decisions import UNDONE_OPERATOR, Decision

DETAILS = re.compile(r": \(.*\)$|\d+(\.\d+)? ms")
"""What differs between nodes with the same reason: a shape, a time."""


@dataclass(frozen=True)
class UnchangedReason:
    """A reason that several nodes share.

    Attributes:
        count: nodes that stayed as they are for it.
        operator: their operator.
        reason: the reason.
        remedy: what the user can do; empty where nothing helps.
        example: one of them.
    """

    count: int
    operator: str
    reason: str
    remedy: str
    example: str

    @property
    def undone(self) -> bool:
        """Whether it is the reason why a pass was undone."""
        return self.operator == UNDONE_OPERATOR

    def __str__(self) -> str:
        """Return `2 Conv: its weights are not constant (export the network in evaluation mode)`."""
        subject = f"{self.example} was undone" if self.undone else f"{self.count} {self.operator}"
        return f"{subject}: {self.reason}{f' ({self.remedy})' if self.remedy else ''}"


def summarise_unchanged(decisions: Sequence[Decision]) -> tuple[UnchangedReason, ...]:
    """Group the decisions that left a node unchanged: undone passes, then those with a remedy, then by count."""
    groups: dict[tuple[str, str, str], list[Decision]] = {}
    for row in decisions:
        if row.unchanged:
            subject = row.node if row.operator == UNDONE_OPERATOR else ""
            groups.setdefault((subject, row.operator, DETAILS.sub("", row.reason)), []).append(row)
    reasons = [
        UnchangedReason(len(rows), operator, _reason(rows[0]), rows[0].remedy, rows[0].node)
        for (_, operator, _), rows in groups.items()
    ]
    return tuple(sorted(reasons, key=lambda row: (not row.undone, not row.remedy, -row.count)))


def _reason(row: Decision) -> str:
    """Return a decision's reason, with the time of the node as it is where its variants were measured."""
    return row.reason if row.measured_ms is None else f"{row.reason}; as it is {row.measured_ms:.3g} ms"
