"""Which rows are on the Pareto front of error against latency, and which one is recommended."""

import math
from collections.abc import Sequence
from dataclasses import replace

from exporter.bench.deployment.types import DeploymentRow
from exporter.types import MIN_SNR, PrecisionOptions

EQUALLY_FAST = 1.05
"""Medians of one file in two processes of one run differ by up to this ratio."""


def pareto_front(points: Sequence[tuple[float, float]]) -> frozenset[int]:
    """Return the indices of the points that no other point dominates; both coordinates are the better the smaller.

    A point dominates another that is nowhere better and somewhere worse, so equal points are on the front together.
    """

    def is_dominated(x: float, y: float) -> bool:
        return any(other != (x, y) and other[0] <= x and other[1] <= y for other in points)

    return frozenset(index for index, point in enumerate(points) if not is_dominated(*point))


def mark_pareto(rows: Sequence[DeploymentRow]) -> tuple[DeploymentRow, ...]:
    """Return the rows, the fastest first, with those on the front of error (minus decibels) against latency marked.

    A row whose outputs are not finite has no error that could be compared, and is never on the front.
    """
    ordered = sorted(rows, key=lambda row: row.latency)
    valid = [number for number, row in enumerate(ordered) if row.snr_db > -math.inf]
    front = pareto_front([(ordered[number].latency, -ordered[number].snr_db) for number in valid])
    marked = {valid[index] for index in front}
    return tuple(replace(row, pareto=number in marked) for number, row in enumerate(ordered))


def holds(row: DeploymentRow, wanted: PrecisionOptions) -> bool:
    """Return whether a row is an export that holds the accuracy asked for, on the held-out clips.

    Without `--min-snr` that is the default of its precision, or of how it stores weights; float32 has none.
    """
    if row.variant is None:
        return False
    required = wanted.min_snr if wanted.min_snr is not None else row.variant.default_min_snr
    accurate = row.snr_db > -math.inf and (required is None or row.snr_db >= required)
    return accurate and (wanted.min_top1 is None or row.top1 is None or row.top1 >= wanted.min_top1)


def recommend(rows: Sequence[DeploymentRow], wanted: PrecisionOptions) -> DeploymentRow | None:
    """Return the fastest row that holds the accuracy asked for; None where there is none.

    Rows within `EQUALLY_FAST` of the fastest count as equally fast: of these the most accurate one is returned.
    """
    return _fastest([row for row in rows if holds(row, wanted)])


def find_exact(rows: Sequence[DeploymentRow]) -> DeploymentRow | None:
    """Return the fastest row that computes in float32 with float32 weights; None where there is none.

    Of rows that are equally fast the most accurate one is returned, as by `recommend`.
    """
    return _fastest([row for row in rows if row.variant is not None and row.variant.default_min_snr is None])


def _fastest(able: Sequence[DeploymentRow]) -> DeploymentRow | None:
    limit = EQUALLY_FAST * min((row.latency for row in able), default=0.0)
    fastest = [row for row in able if row.latency <= limit]
    return min(fastest, key=lambda row: (-row.snr_db, row.latency), default=None)


def describe_rule(wanted: PrecisionOptions) -> str:
    """Return how the recommended row is chosen."""
    defaults = ", ".join(f"{name} {decibels:g} dB" for name, decibels in MIN_SNR.items())
    snr = f"the minimum of its precision ({defaults})" if wanted.min_snr is None else f"at least {wanted.min_snr:g} dB"
    top1 = "" if wanted.min_top1 is None else f" and the highest class of at least {wanted.min_top1:.0%} of them"
    ties = f"of those within {EQUALLY_FAST - 1:.0%} of it, the most accurate"
    return f"the fastest export that holds {snr}{top1} on the held-out clips; {ties}"
