"""What the axes of `charts` share: ticks that fit the width, and the names of the rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from exporter.reports.svg import COLOURS, FONT, Size, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import MaxNLocator

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power(value: float) -> str:
    """Return a tick's label on a logarithmic axis: 10⁻⁷, and 2·10⁻⁷ between the powers of ten."""
    exponent = math.floor(math.log10(value) + 1e-9)
    digit = round(value / 10.0**exponent)
    return f"{digit}·" * (digit != 1) + f"10{str(exponent).translate(SUPERSCRIPTS)}"


def plain(value: float) -> str:
    """Return a number as a tick's label."""
    return f"{value:g}"


def ticks(axes: Axes, low: float, high: float, size: Size, reported: Callable[[float], str], *, log: bool) -> None:
    """Set the horizontal axis's ticks, as many as the width has room for, and its grid."""
    from matplotlib.ticker import FixedLocator, NullLocator

    room = 5 if size.name == "narrow" else 9
    if log:
        first, last = round(math.log10(low)), round(math.log10(high))
        step = max(1, math.ceil((last - first) / room))
        # counted from 0, so that 1 (all of a budget, an error as large as the truth) always is a tick
        between = (1, 2, 5) if last - first == 1 else (1,)
        places = [
            digit * 10.0**exponent for exponent in range(first, last + 1) if exponent % step == 0 for digit in between
        ]
        axes.xaxis.set_major_locator(FixedLocator(places))
    else:
        axes.xaxis.set_major_locator(locator(room))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _place: reported(value))
    axes.tick_params(axis="x", length=0, labelsize=FONT - 1, labelcolor=COLOURS["muted"], pad=6)
    axes.grid(axis="x", color=COLOURS["rule"], linewidth=0.75)


def locator(count: int) -> MaxNLocator:
    """Return what places at most so many ticks at round numbers."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(count)


def rows(axes: Axes, labels: Sequence[str], size: Size, bad: Sequence[int]) -> None:
    """Name the rows, left of them where there is room, else above."""
    axes.set_ylim(max(1, len(labels)) - 0.5, -0.5)
    axes.set_yticks([])
    for row, label in enumerate(labels):
        axes.axhline(row, color=COLOURS["rule"], linewidth=0.75, zorder=0)
        text, colour = _short(label, size.letters), COLOURS["bad" if row in bad else "ink"]
        left, height = (-0.02, float(row)) if size.gutter else (0.0, row - 0.2)
        axes.text(
            left,
            height,
            text,
            transform=axes.get_yaxis_transform(),
            color=colour,
            parse_math=False,
            fontsize=FONT,
            fontweight="bold" if row in bad else "normal",
            ha="right" if size.gutter else "left",
            va="center" if size.gutter else "baseline",
        )


def _short(text: str, letters: int) -> str:
    """Return text of at most so many letters: the middle goes, because names of files differ at their ends."""
    text = printable(text).replace("\n", " ").replace("\t", " ")
    if len(text) <= letters:
        return text
    tail = letters // 2
    return f"{text[: letters - tail - 1]}…{text[-tail:]}"
