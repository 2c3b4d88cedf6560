"""Pictures for pages: inline SVG that needs no script, prints as text and lines, and takes its colours from the page.

Drawn by matplotlib rather than plotly, whose script is 4.8 MB a page, draws nothing on paper until it has run, and
cannot be read where scripts are off. Each picture is drawn twice, for wide and for narrow screens; the page's style
shows one of them. Data that a picture cannot place (zero on a logarithmic axis, infinity) is put at the axis's end with
an arrowhead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from exporter.reports.axes import locator, plain, power, rows, ticks
from exporter.reports.svg import COLOURS, FONT, Size, printable, render_svg

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

Role = Literal["subject", "reference", "limit"]
"""What a series is to the reader: what is judged, what it is held beside, how far it may go."""

MARKS: dict[Role, str] = {"subject": "o", "reference": "D", "limit": "|"}
DOTS: dict[Role, str] = {"subject": "●", "reference": "◆", "limit": "|"}
BARS: dict[Role, str] = {"subject": "■", "reference": "■", "limit": "|"}
OUTLINES: dict[Role, str] = {"subject": "■", "reference": "▁", "limit": "|"}


ROOM = 0.18
"""What a chart of bars leaves at its right for the values, as a share of its axis."""
MOST = 300
"""The largest power of ten on an axis: room is left for the ends' arrowheads."""


@dataclass(frozen=True)
class Series:
    """Numbers of one kind, one for each row of a chart.

    Attributes:
        name: for the legend.
        values: None where there is none.
        role: decides colour and mark.
        spans: (low, high) around each value, or nothing.
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
    tick: Callable[[float], str] = power,
) -> Markup:
    """Draw a row for each label and a mark for each number: values side by side over many orders of magnitude.

    Args:
        labels: of the rows, from the top.
        series: one number a row each. `spans` are drawn as thin lines.
        name: of the picture, once in a page.
        axis: what the numbers are, with their unit.
        description: the picture in words, for those who do not see it.
        log: a logarithmic axis.
        joined: connect each series' marks: the rows are steps of one course.
        bad: rows to point out.
        tick: a tick's label.
    """

    def draw(axes: Axes, size: Size) -> None:
        low, high = _limits(series, log=log)
        axes.set_xscale("log" if log else "linear")
        axes.set_xlim(low, high)
        ticks(axes, low, high, size, tick if log or tick is not power else plain, log=log)
        for each in series:
            _dots(axes, each, low, high, joined=joined)
        rows(axes, labels, size, bad)

    return render_svg(draw, len(labels), _legend(series, DOTS), name, axis, description)


def bar_chart(
    labels: Sequence[str],
    series: Sequence[Series],
    *,
    name: str,
    axis: str,
    description: str,
    reported: Callable[[float], str] = plain,
    tick: Callable[[float], str] = plain,
    bad: Sequence[int] = (),
) -> Markup:
    """Draw horizontal bars from zero, with the value written at each: quantities of one size, such as times.

    Args:
        labels: of the rows, from the top.
        series: a bar a row each, where it has a value there. `spans` are drawn as whiskers, a limit as a line.
        name: of the picture, once in a page.
        axis: what the numbers are, with their unit.
        description: the picture in words.
        told: how a value is written at its bar.
        tick: a tick's label.
        bad: rows to point out.
    """
    bars = [each for each in series if each.role != "limit"]
    limits = [each for each in series if each.role == "limit"]

    def draw(axes: Axes, size: Size) -> None:
        _, high = _limits(series, log=False)
        axes.set_xlim(0, high * (1 + ROOM))
        thick, shift = (0.5, 0.0) if size.gutter else (0.36, 0.12)  # below the rows' names, where those stand above
        ticks(axes, 0, high, size, tick, log=False)
        for row in range(len(labels)):
            ends = [limit for each in limits if (limit := _finite(each, row)) is not None]
            axes.vlines(
                ends,
                row + shift - 0.7 * thick,
                row + shift + 0.7 * thick,
                color=COLOURS["limit"],
                linewidth=2,
                zorder=3,
            )
            here = [each for each in bars if _finite(each, row) is not None]
            for place, each in enumerate(here):
                part = thick / len(here)
                y = row + shift + (place - (len(here) - 1) / 2) * part
                _bar(axes, each, row, y, part * 0.9, ends, reported)
        rows(axes, labels, size, bad)

    return render_svg(draw, len(labels), _legend(series, BARS), name, axis, description)


def step_chart(
    edges: Sequence[float],
    series: Sequence[Series],
    *,
    name: str,
    axis: str,
    description: str,
    line: tuple[float, str] | None = None,
    tick: Callable[[float], str] = power,
) -> Markup:
    """Draw histograms on a logarithmic axis, as outlines over each other: the subject's filled, the reference's not.

    Args:
        edges: of the bins, ascending, positive and finite.
        series: a height for each bin, in per cent.
        name: of the picture, once in a page.
        axis: what is counted, with its unit.
        description: the picture in words.
        line: a place on the axis to mark, and its name.
        tick: a tick's label.
    """
    tallest = max((value or 0.0 for each in series for value in each.values), default=0.0) or 1.0

    def draw(axes: Axes, size: Size) -> None:
        axes.set_xscale("log")
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, tallest * 1.15)
        ticks(axes, edges[0], edges[-1], size, tick, log=True)
        axes.yaxis.set_major_locator(locator(4))
        axes.yaxis.set_major_formatter(lambda value, _place: f"{value:g} %")
        axes.tick_params(axis="y", length=0, labelsize=FONT - 1, labelcolor=COLOURS["muted"], pad=4)
        axes.grid(axis="y", color=COLOURS["rule"], linewidth=0.75)
        for each in sorted(series, key=lambda each: each.role == "reference"):
            filled, colour = each.role == "subject", COLOURS[each.role]
            heights = [value or 0.0 for value in each.values]
            axes.stairs(heights, edges, fill=filled, color=colour, linewidth=0 if filled else 1.75)
        if line is not None:
            axes.axvline(line[0], color=COLOURS["limit"], linewidth=1.25)
            axes.annotate(
                line[1],
                (line[0], tallest * 1.13),
                (-6, 0),
                textcoords="offset points",
                ha="right",
                va="top",
                fontsize=FONT - 1,
                color=COLOURS["limit"],
                parse_math=False,
            )

    return render_svg(draw, None, _legend(series, OUTLINES), name, axis, description)


def _legend(series: Sequence[Series], glyphs: Mapping[Role, str]) -> Markup:
    from markupsafe import Markup

    entries = Markup("").join(
        Markup('<li><span class="{}" aria-hidden="true">{}</span> {}</li>').format(
            each.role, glyphs[each.role], printable(each.name)
        )
        for each in series
    )
    return Markup('<ul class="legend">{}</ul>').format(entries)


def _limits(series: Sequence[Series], *, log: bool) -> tuple[float, float]:
    values = [value for each in series for value in each.values if value is not None]
    values += [end for each in series for span in each.spans if span is not None for end in span]
    finite = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    if not finite:
        return (0.1, 10.0) if log else (0.0, 1.0)
    if not log:
        return min(0.0, *finite), max(finite) * 1.04 or 1.0
    ends = math.floor(math.log10(min(finite))), math.ceil(math.log10(max(finite)))
    low, high = (10.0 ** min(max(end, -MOST), MOST) for end in ends)
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
    reported: Callable[[float], str],
) -> None:
    """Draw a bar with its whisker, and its value where neither whisker nor limit is in the way."""
    value, high = each.values[row] or 0.0, axes.get_xlim()[1] / (1 + ROOM)
    axes.barh(y, value, thick, color=COLOURS[each.role], linewidth=0)
    end, span = value, each.spans[row] if each.spans else None
    if span is not None:
        axes.plot(span, (y, y), color=COLOURS["ink"], linewidth=1)
        end = max(end, span[1])
    end = max([end, *(limit for limit in limits if end <= limit < end + ROOM * high)])
    axes.text(
        end + high * 0.012, y, reported(value), va="center", fontsize=FONT - 1, color=COLOURS["ink"], parse_math=False
    )


def _dots(axes: Axes, each: Series, low: float, high: float, *, joined: bool) -> None:
    """Draw a series' marks; what lies outside the axis stands at its end, as an arrowhead."""
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
