"""How much faster: the ratio of two targets' times, and how sure it is.

Every round runs every target, so a round gives one time of each, taken within seconds of each other: whatever slows the
machine down in that round slows all of them, and the ratio *within* a round keeps clear of it. The ratio reported is
the median of the rounds' ratios. Its interval is the one that inverts the sign test: of n sorted ratios, the true
median lies between the (k+1)-th from below and the (k+1)-th from above unless at most k of n fell on one side of it,
which has probability 2 P(Binomial(n, 1/2) <= k). That holds for any distribution and any n, where a bootstrap of few
rounds is too narrow.

Source: David and Nagaraja, Order Statistics, 3rd ed., 7.1 (distribution-free intervals for quantiles); for paired runs
in benchmarks, Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013.
"""

from collections.abc import Sequence
from math import comb
from statistics import median

from exporter.bench.types import Ratio

CONFIDENCE = 0.95
"""The confidence of the interval. Six rounds are enough for it; fewer give the whole range and state less."""


def paired_ratio(times: Sequence[float], first: Sequence[float]) -> Ratio:
    """Compare two targets by the rounds that both had.

    Args:
        times: a target's seconds, one for each round.
        first: the first target's in the same rounds.

    Raises:
        ValueError: no rounds, or not the same number.
    """
    ratios = sorted(a / b for a, b in zip(times, first, strict=True))
    if not ratios:
        raise ValueError("no rounds to compare")
    cut, sure = _cut(len(ratios))
    return Ratio(median(ratios), ratios[cut], ratios[-1 - cut], sure)


def _cut(rounds: int) -> tuple[int, float]:
    """Return how many ratios to leave out at each end, and the confidence of what is left."""
    outside, best = 0.0, (0, 1 - 2.0 ** (1 - rounds))
    for k in range((rounds + 1) // 2):
        outside += comb(rounds, k) / 2**rounds
        if 1 - 2 * outside < CONFIDENCE:
            break
        best = (k, 1 - 2 * outside)
    return best
