"""A chart of points by two quantities, with their numbers: error against latency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from exporter.reports.axes import format_plain, format_power, set_ticks, write
from exporter.reports.svg import COLOURS, FONT, make_legend, render_svg

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

HEIGHT = 300
"""Of the chart without its axis, in pixels."""
OFFSETS = ((8, -4), (-8, -4), (0, 7), (0, -15), (8, 7), (-8, 7))
"""Where a point's number may stand, in pixels from the point: the first place that is free is taken."""
CLOSE = 12.0
"""Numbers whose places are nearer than this overlap, in pixels."""


@dataclass(frozen=True)
class Point:
    """A point: its number in the chart, both coordinates (positive; y may be 0), and how it is drawn."""

    number: int
    x: float
    y: float
    role: Literal["subject", "reference"]


def scatter_chart(
    points: Sequence[Point],
    front: Sequence[Point],
    *,
    name: str,
    axes_titles: tuple[str, str],
    names: tuple[str, str, str],
    description: str,
) -> Markup:
    """Draw points with their numbers, and the front as steps; y is logarithmic, and its zeros are at the bottom.

    Args:
        points: what is drawn.
        front: those that no other point dominates, by ascending x.
        name: unique in the page.
        axes_titles: of the horizontal and the vertical axis, with units.
        names: of subjects, references and the front, in the legend.
        description: the text alternative of the chart.
    """
    positive = [point.y for point in points if point.y > 0]
    low = 10.0 ** math.floor(math.log10(min(positive, default=1e-7)) - (len(positive) < len(points)))
    high = 10.0 ** math.ceil(math.log10(max(positive, default=1.0)) + 0.05)
    right = 1.08 * max((point.x for point in points), default=1.0)

    def draw(axes: Axes) -> None:
        axes.set_yscale("log")
        axes.set_xlim(0, right)
        axes.set_ylim(low, high)
        set_ticks(axes, 0, right, format_plain, log=False)
        set_ticks(axes, low, high, format_power, log=True, direction="y")
        write(axes, 0.99, 0.99, axes_titles[1], "muted", ha="right", va="top", transform=axes.transAxes, fontsize=FONT)
        if front:
            steps = ([point.x for point in front], [max(point.y, low) for point in front])
            axes.step(*steps, where="post", color=COLOURS["subject"], linewidth=1.25, alpha=0.6, zorder=2)
        taken: list[tuple[float, float]] = []
        for point in points:
            _draw_point(axes, point, max(point.y, low), taken)

    compared = any(point.role == "reference" for point in points)
    entries = [("subject", "●", names[0]), ("reference", "◆", names[1]), ("subject", "—", names[2])]
    legend = make_legend(entry for entry in entries if compared or entry[0] != "reference")
    return render_svg(draw, None, legend, name, axes_titles[0], description, plain_height=HEIGHT)


def _draw_point(axes: Axes, point: Point, y: float, taken: list[tuple[float, float]]) -> None:
    """Draw a marker and its number where no other number is."""
    colour = COLOURS[point.role]
    marker, size, face = ("o", 6.5, colour) if point.role == "subject" else ("D", 5.0, "none")
    axes.plot([point.x], [y], marker=marker, markersize=size, color=colour, markerfacecolor=face, linestyle="none")
    centre = axes.transData.transform((point.x, y))
    places = [(float(centre[0]) + dx, float(centre[1]) + dy) for dx, dy in OFFSETS]
    free = (place for place in places if all(math.dist(place, other) >= CLOSE for other in taken))
    place = next(free, places[0])
    taken.append(place)
    x, bottom = axes.transData.inverted().transform(place)
    dx = OFFSETS[places.index(place)][0]
    write(axes, float(x), float(bottom), str(point.number), ha="left" if dx > 0 else "right" if dx < 0 else "center")
