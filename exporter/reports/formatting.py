"""Numbers, terms and names, as consoles and pages show them."""

import math
import re
from collections.abc import Sequence

from models.text import is_visible, visible

GLOSSARY = (
    ("max error", "The largest absolute difference from float64, of the clip that uses most of its budget."),
    ("mean error", "The mean absolute difference of the same clip."),
    ("budget", "The largest error that passes. It is computed from the tolerance for each input."),
    ("budget used", "The error divided by its budget. More than 100 % fails."),
    ("cosine", "The cosine similarity to the float64 reference, the smallest of any clip in the batch; 1 is ideal."),
    (
        "SNR",
        "Signal-to-noise ratio, 20 log10(|reference| / |error|), in decibels, the smallest of any clip; higher is "
        "better.",
    ),
    (
        "top-1, top-5",
        "Whether the highest class, and the set of the five highest, are those of the float64 reference. A tie is a "
        "difference between classes whose scores differ by less than the budget.",
    ),
    (
        "equal, may differ",
        "Of an output of labels, masks, indices, rounded numbers or strings: the fraction of elements that equal "
        "float64, and of those that may differ, because the float values that decide them are within their budget of "
        "a tie.",
    ),
    ("scores", "Outputs of the network, before softmax unless the output is called probabilities."),
)
"""The meanings of column headings."""

FORMULA = ("=", "+", "-", "@")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
MIN_DECIMAL, MIN_PERCENT, MAX_PERCENT, MAX_DECIMAL = 1e-3, 0.01, 10, 1e5


def error(value: float) -> str:
    """Return an error: 5.5e-07, 0, inf."""
    return "0" if value == 0 else f"{value:.1e}"


def budget_percent(used: float) -> str:
    """Return how much of a budget is used: 7%, 310%, 12x, inf."""
    if not math.isfinite(used):
        return "inf"
    if used < MAX_PERCENT:
        return f"{100 * used:.0f}%" if used >= MIN_PERCENT or used == 0 else "<1%"
    return f"{used:,.0f}x" if used < MAX_DECIMAL else f"{used:.0e}x"


def times(value: float) -> str:
    """Return how many times a budget: 1.3 times, 8,352 times."""
    return f"{value:.2g} times" if value < MAX_PERCENT else f"{budget_percent(value).removesuffix('x')} times"


def format_scores(values: Sequence[float]) -> tuple[str, ...]:
    """Return the scores of one table, all with the same decimals: five digits of the largest."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest == 0 or not MIN_DECIMAL <= largest < MAX_DECIMAL:
        return tuple(f"{value:.3e}" for value in values)
    decimals = max(0, 4 - math.floor(math.log10(largest)))
    return tuple(f"{value:.{decimals}f}" for value in values)


def format_column(values: Sequence[float]) -> tuple[str, ...]:
    """Return the numbers of a column, all with the same decimals: three significant digits of the smallest."""
    smallest = min((value for value in values if value > 0), default=1.0)
    decimals = max(0, 2 - math.floor(math.log10(smallest)))
    return tuple(f"{value:,.{decimals}f}" for value in values)


def csv_text(text: str) -> str:
    """Return a name for a cell of a CSV table: visible, on one line, and no formula.

    Spreadsheets compute a cell that begins with one of FORMULA, quoted or not, and formulas start programs. Such a name
    gets an apostrophe in front (OWASP, "CSV Injection"), except where it is a number. JSON has the name as it is.
    """
    shown = visible(text)
    return f"'{shown}" if shown.startswith(FORMULA) and not _NUMBER.fullmatch(shown) else shown


def replace_invisible(text: str) -> str:
    """Return text with what is not visible, and XML cannot hold, replaced by U+FFFD; newlines and tabs stay."""
    return "".join(letter if is_visible(letter) or letter in "\n\t" else "\ufffd" for letter in text)
