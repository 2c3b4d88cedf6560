"""Charts for pages: inline SVG that needs no script, prints well, and takes its colours from the style sheet.

matplotlib draws them rather than plotly, whose script adds 4.8 MB to a page and must run before printing.
Values that an axis cannot show (zero on a logarithmic axis, infinity) are drawn at its end as an arrowhead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from exporter.reports.axes import format_plain, format_power, label_rows, set_ticks, write
from exporter.reports.svg import COLOURS, make_legend, render_svg

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

Role = Literal["subject", "reference", "limit"]
"""The role of a series: the one that the chart is about, one for comparison, or a limit."""

MARKS: dict[Role, str] = {"subject": "o", "reference": "D", "limit": "|"}
DOTS: dict[Role, str] = {"subject": "●", "reference": "◆", "limit": "|"}
BARS: dict[Role, str] = {"subject": "■", "reference": "■", "limit": "|"}
OUTLINES: dict[Role, str] = {"subject": "■", "reference": "▁", "limit": "|"}


BAR_HEIGHT, BAR_OFFSET = 0.36, 0.12
"""Height of the bars of a row and their distance below its middle, as fractions of the row; its label is above."""
VALUE_MARGIN = 0.18
"""Margin right of the bars for their values, as a fraction of the axis."""
MAX_EXPONENT = 300
"""The largest power of ten on an axis; it leaves room for the arrowheads at the ends."""


@dataclass(frozen=True)
class Series:
    """One value for each row of a chart.

    Attributes:
        name: the name in the legend; empty for the only series of a chart, which then has no legend.
        values: the values; None for a row without one.
        role: decides colour and marker.
        spans: (low, high) for each value, or empty.
    """

    name: str
    values: tuple[float | None, ...]
    role: Role = "subject"
    spans: tuple[tuple[float, float] | None, ...] = ()


def dot_chart(
    labels: Sequence[str],
    series: Sequence[Series],
    *,
    name: str,
    axis: str,
    description: str,
    log: bool = True,
    joined: bool = False,
    bad: Sequence[int] = (),
) -> Markup:
    """Draw a row for each label and a marker for each value: for values over many orders of magnitude.

    Args:
        labels: row labels, from the top.
        series: a value for each row; `spans` are drawn as thin lines.
        name: unique in the page.
        axis: title of the axis, with the unit.
        description: the text alternative of the chart.
        log: whether the axis is logarithmic.
        joined: connect the markers of each series, if the rows are consecutive steps.
        bad: indices of rows to highlight.
    """

    def draw(axes: Axes) -> None:
        low, high = _limits(series, log=log)
        axes.set_xscale("log" if log else "linear")
        axes.set_xlim(low, high)
        set_ticks(axes, low, high, format_power if log else format_plain, log=log)
        for each in series:
            _dots(axes, each, low, high, joined=joined)
        label_rows(axes, labels, bad)

    return render_svg(draw, len(labels), _legend(series, DOTS), name, axis, description)


def bar_chart(
    labels: Sequence[str],
    series: Sequence[Series],
    *,
    name: str,
    axis: str,
    description: str,
    format_value: Callable[[float], str] = format_plain,
    tick: Callable[[float], str] = format_plain,
) -> Markup:
    """Draw horizontal bars from zero, each with its value: for quantities of similar size, such as times.

    Args:
        labels: row labels, from the top.
        series: a bar for each row that has a value; `spans` are drawn as whiskers, a limit as a line.
        name: unique in the page.
        axis: title of the axis, with the unit.
        description: the text alternative of the chart.
        format_value: formats the value at its bar.
        tick: formats the label of a tick.
    """
    bars = [each for each in series if each.role != "limit"]
    limits = [each for each in series if each.role == "limit"]

    def draw(axes: Axes) -> None:
        _, high = _limits(series, log=False)
        axes.set_xlim(0, high * (1 + VALUE_MARGIN))
        set_ticks(axes, 0, high, tick, log=False)
        for row in range(len(labels)):
            ends = [limit for each in limits if (limit := _finite(each, row)) is not None]
            axes.vlines(
                ends,
                row + BAR_OFFSET - 0.7 * BAR_HEIGHT,
                row + BAR_OFFSET + 0.7 * BAR_HEIGHT,
                color=COLOURS["limit"],
                linewidth=2,
                zorder=3,
            )
            here = [each for each in bars if _finite(each, row) is not None]
            for index, each in enumerate(here):
                part = BAR_HEIGHT / len(here)
                y = row + BAR_OFFSET + (index - (len(here) - 1) / 2) * part
                _bar(axes, each, row, y, part * 0.9, ends, format_value)
        label_rows(axes, labels, ())

    return render_svg(draw, len(labels), _legend(series, BARS), name, axis, description)


def step_chart(
    edges: Sequence[float],
    series: Sequence[Series],
    *,
    name: str,
    axis: str,
    description: str,
    line: tuple[float, str] | None = None,
    tick: Callable[[float], str] = format_power,
) -> Markup:
    """Draw histograms on a logarithmic axis over each other: the subject filled, the reference as an outline.

    Args:
        edges: edges of the bins, ascending, positive and finite.
        series: a height for each bin, in per cent.
        name: unique in the page.
        axis: title of the axis, with the unit.
        description: the text alternative of the chart.
        line: a value to mark with a vertical line, and its name.
        tick: formats the label of a tick.
    """
    tallest = max((value or 0.0 for each in series for value in each.values), default=0.0) or 1.0

    def draw(axes: Axes) -> None:
        axes.set_xscale("log")
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, tallest * 1.15)
        set_ticks(axes, edges[0], edges[-1], tick, log=True)
        set_ticks(axes, 0, tallest, lambda value: f"{value:g} %", log=False, direction="y", most=4)
        for each in sorted(series, key=lambda each: each.role == "reference"):
            filled, colour = each.role == "subject", COLOURS[each.role]
            heights = [value or 0.0 for value in each.values]
            axes.stairs(heights, edges, fill=filled, color=colour, linewidth=0 if filled else 1.75)
        if line is not None:
            axes.axvline(line[0], color=COLOURS["limit"], linewidth=1.25)
            write(
                axes, line[0] * (edges[0] / edges[-1]) ** 0.015, tallest * 1.13, line[1], "limit", ha="right", va="top"
            )

    return render_svg(draw, None, _legend(series, OUTLINES), name, axis, description)


def _legend(series: Sequence[Series], glyphs: Mapping[Role, str]) -> Markup:
    return make_legend((each.role, glyphs[each.role], each.name) for each in series)


def _limits(series: Sequence[Series], *, log: bool) -> tuple[float, float]:
    values = [value for each in series for value in each.values if value is not None]
    values += [end for each in series for span in each.spans if span is not None for end in span]
    finite = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    if not finite:
        return (0.1, 10.0) if log else (0.0, 1.0)
    if not log:
        return min(0.0, *finite), max(finite) * 1.04 or 1.0
    ends = math.floor(math.log10(min(finite))), math.ceil(math.log10(max(finite)))
    low, high = (10.0 ** min(max(end, -MAX_EXPONENT), MAX_EXPONENT) for end in ends)
    if any(value == 0 for value in values):
        low /= 10
    if high <= low or not all(math.isfinite(value) for value in values):
        high *= 10
    return low, high


def _finite(each: Series, row: int) -> float | None:
    value = each.values[row]
    return value if value is not None and math.isfinite(value) else None


def _bar(
    axes: Axes,
    each: Series,
    row: int,
    y: float,
    thick: float,
    limits: Sequence[float],
    format_value: Callable[[float], str],
) -> None:
    """Draw a bar with its whisker, and its value to the right of both and of a limit line that would cross it."""
    value, high = each.values[row] or 0.0, axes.get_xlim()[1] / (1 + VALUE_MARGIN)
    axes.barh(y, value, thick, color=COLOURS[each.role], linewidth=0)
    end, span = value, each.spans[row] if each.spans else None
    if span is not None:
        axes.plot(span, (y, y), color=COLOURS["ink"], linewidth=1)
        end = max(end, span[1])
    end = max([end, *(limit for limit in limits if end <= limit < end + VALUE_MARGIN * high)])
    write(axes, end + high * 0.012, y, format_value(value), va="center")


def _dots(axes: Axes, each: Series, low: float, high: float, *, joined: bool) -> None:
    """Draw the markers of a series; values outside the axis are arrowheads at its end."""
    colour, mark = COLOURS[each.role], MARKS[each.role]
    size = {"subject": 6.5, "reference": 5.0, "limit": 13.0}[each.role]
    style: dict[str, Any] = {
        "linestyle": "none",
        "color": colour,
        "markeredgewidth": 1.5,
        "clip_on": False,
        "zorder": 4,
    }
    if each.role == "reference":
        style |= {"markerfacecolor": "none", "zorder": 3}
    inside = [(value, row) for row, value in enumerate(each.values) if value is not None and low <= value <= high]
    if joined:
        axes.plot(*zip(*inside, strict=True), color=colour, linewidth=1, alpha=0.55) if inside else None
    for row, span in enumerate(each.spans):
        if span is not None:
            axes.plot(span, (row, row), color=colour, linewidth=1.5, solid_capstyle="butt", clip_on=False)
    for value, row in inside:
        axes.plot([value], [row], marker=mark, markersize=size, **style)
    if each.role == "limit":
        return
    for row, value in enumerate(each.values):
        if value is not None and not low <= value <= high:
            axes.plot([low if value < low else high], [row], marker="<" if value < low else ">", markersize=7, **style)
