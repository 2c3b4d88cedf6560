"""The axes of `charts`: ticks, and the names of the rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from exporter.reports.formatting import replace_invisible
from exporter.reports.svg import COLOURS, FONT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_TICKS, MAX_LETTERS = 6, 50
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_power(value: float) -> str:
    """Return a tick's label on a logarithmic axis: 10⁻⁷, and 2·10⁻⁷ between the powers of ten."""
    exponent = math.floor(math.log10(value) + 1e-9)
    digit = round(value / 10.0**exponent)
    return f"{digit}·" * (digit != 1) + f"10{str(exponent).translate(SUPERSCRIPTS)}"


def format_plain(value: float) -> str:
    """Return a number as a tick's label."""
    return f"{value:g}"


def set_ticks(
    axes: Axes,
    low: float,
    high: float,
    label: Callable[[float], str],
    *,
    log: bool,
    direction: Literal["x", "y"] = "x",
    most: int = MAX_TICKS,
) -> None:
    """Set the ticks, at most so many, and the grid of the horizontal or the vertical axis."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

    axis = axes.xaxis if direction == "x" else axes.yaxis
    if log:
        first, last = round(math.log10(low)), round(math.log10(high))
        step = max(1, math.ceil((last - first) / most))
        # multiples of the step, so that 1 (all of a budget, an error of 100 %) always is a tick
        digits = (1, 2, 5) if last - first == 1 else (1,)
        positions = [
            digit * 10.0**exponent for exponent in range(first, last + 1) if exponent % step == 0 for digit in digits
        ]
        axis.set_major_locator(FixedLocator(positions))
    else:
        axis.set_major_locator(MaxNLocator(most))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _position: label(value))
    pad = 6 if direction == "x" else 4
    axes.tick_params(axis=direction, length=0, labelsize=FONT - 1, labelcolor=COLOURS["muted"], pad=pad)
    axes.grid(axis=direction, color=COLOURS["rule"], linewidth=0.75)


TIME_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
"""Distances of ticks on an axis of time, in seconds."""


def format_time(seconds: float) -> str:
    """Return a time of a video: 3.2 s, 48 s, 2:05, 1:02:05."""
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0", "")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def set_time_ticks(axes: Axes, low: float, high: float) -> None:
    """Set the ticks and the grid of a horizontal axis of time, in seconds."""
    from matplotlib.ticker import FixedLocator

    set_ticks(axes, low, high, format_time, log=False)
    step = next((step for step in TIME_STEPS if (high - low) / step <= MAX_TICKS), (high - low) / MAX_TICKS)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    axes.xaxis.set_major_locator(FixedLocator([number * step for number in range(first, last + 1)]))


def write(axes: Axes, x: float, y: float, text: str, colour: str = "ink", **style: Any) -> None:
    """Write a text verbatim, in a colour of the page; `style` goes to matplotlib."""
    options: dict[str, Any] = {"fontsize": FONT - 1, "color": COLOURS[colour], "parse_math": False}
    axes.text(x, y, text, **options | style)


def label_rows(axes: Axes, labels: Sequence[str], bad: Sequence[int], *, lines: bool = True) -> None:
    """Write the names of the rows above them, and draw a line through the middle of each."""
    axes.set_ylim(max(1, len(labels)) - 0.5, -0.5)
    axes.set_yticks([])
    style: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "fontsize": FONT}
    for row, label in enumerate(labels):
        if lines:
            axes.axhline(row, color=COLOURS["rule"], linewidth=0.75, zorder=0)
        weight = "bold" if row in bad else "normal"
        write(axes, 0.0, row - 0.2, _shorten(label), "bad" if row in bad else "ink", fontweight=weight, **style)


def _shorten(text: str) -> str:
    """Return text of at most `MAX_LETTERS` characters, without its middle, because file names differ at their ends."""
    text = replace_invisible(text).replace("\n", " ").replace("\t", " ")
    if len(text) <= MAX_LETTERS:
        return text
    tail = MAX_LETTERS // 2
    return f"{text[: MAX_LETTERS - tail - 1]}…{text[-tail:]}"
