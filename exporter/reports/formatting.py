"""Numbers and terms as pages tell them."""

import math
from collections.abc import Sequence

GLOSSARY = (
    ("max error", "The largest distance from the truth among the numbers of the clip that uses most of its budget."),
    ("mean error", "The mean distance of the same clip's numbers."),
    ("budget", "The largest error that passes, from the tolerance and this very input."),
    ("budget used", "The artifact's error as a share of its budget. Above 100 % is failure."),
    ("cosine", "The cosine similarity to the truth, the smallest of any clip in the batch. 1 is the same direction."),
    (
        "SNR",
        "Signal-to-noise ratio: 20 log10(|truth| / |error|), in decibels, the smallest of any clip. More is better.",
    ),
    (
        "top-1, top-5",
        "Whether the highest class, and the set of the five highest, are the truth's. A tie is a difference between "
        "classes that the budget cannot tell apart.",
    ),
    ("scores", "Outputs of the network, before softmax unless the output is called probabilities."),
)
"""What the columns mean."""

LEAST, LITTLE, MANY, HUGE = 1e-3, 0.01, 10, 1e5


def error(value: float) -> str:
    """Return an error: 5.5e-07, 0, inf."""
    return "0" if value == 0 else f"{value:.1e}"


def share(value: float) -> str:
    """Return a share of a budget: 7 %, 310 %, 12x, inf."""
    if not math.isfinite(value):
        return "inf"
    if value < MANY:
        return f"{100 * value:.0f} %" if value >= LITTLE or value == 0 else "<1 %"
    return f"{value:,.0f}x" if value < HUGE else f"{value:.0e}x"


def times(value: float) -> str:
    """Return how many times a budget: 1.3 times, 8,352 times."""
    return f"{value:.2g} times" if value < MANY else f"{share(value).removesuffix('x')} times"


def scores(values: Sequence[float]) -> tuple[str, ...]:
    """Return scores that stand in one table, with the same decimals: five digits of the largest."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest == 0 or not LEAST <= largest < HUGE:
        return tuple(f"{value:.3e}" for value in values)
    decimals = max(0, 4 - math.floor(math.log10(largest)))
    return tuple(f"{value:.{decimals}f}" for value in values)


def count(value: int) -> str:
    """Return a count: 12,345."""
    return f"{value:,}"
