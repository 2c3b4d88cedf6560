"""`bench --all --html`: the contents of the page, with its chart of error against latency; a template lays them out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from exporter.bench.deployment.types import DeploymentRow, DeploymentTable
from exporter.reports.axes import format_plain, format_power, set_ticks, write
from exporter.reports.bench import format_threads
from exporter.reports.console import describe_phases
from exporter.reports.deployment import conclusions, describe, headings, make_cells
from exporter.reports.html import Row, Table, render
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


def deployment_page(table: DeploymentTable, made: datetime | None = None) -> str:
    """Return the page.

    Args:
        table: what was found.
        made: the date on the page; None for now.
    """
    points = make_points(table)
    front = [point for point, row in zip(points, _drawn(table), strict=True) if row.pareto]
    listed = "; ".join(f"{point.number} {describe(row)}" for point, row in zip(points, _drawn(table), strict=True))
    chart = scatter_chart(
        points,
        front,
        name="error-latency",
        axes_titles=("milliseconds per batch", "error relative to the outputs"),
        names=("exports", "other engines on the unoptimized network", "Pareto front"),
        description=f"Error against latency: {listed}.",
    )
    best = table.row(table.recommended)
    context = {
        "table": table,
        "headline": "No export holds the accuracy asked for" if best is None else describe(best),
        "recommended": best is not None,
        "conclusions": conclusions(table),
        "chart": chart,
        "caption": f"Median of batch {table.batches[0]}. The error is 10 to the power of minus dB/20: the largest of "
        "any held-out clip. Further left is faster, further down more accurate. The numbers are those of the table.",
        "figures": _figures(table),
        "failed": [(row.name, row.reason) for row in table.missing if row.kind == "failed"],
        "missing": [(row.name, row.reason) for row in table.missing if row.kind != "failed"],
        "notes": [*(f"{row.name}: {note}" for row in table.rows for note in row.notes), *table.notes],
        "facts": _facts(table),
    }
    return render("deployment.html.jinja", context, made)


def make_points(table: DeploymentTable) -> tuple[Point, ...]:
    """Return the points of the chart: milliseconds and relative error, numbered as the table's rows."""
    return tuple(
        Point(
            table.rows.index(row) + 1,
            1e3 * row.latency,
            10 ** (-row.snr_db / 20),
            "reference" if row.variant is None else "subject",
        )
        for row in _drawn(table)
    )


def _drawn(table: DeploymentTable) -> tuple[DeploymentRow, ...]:
    """Return the rows whose error is a number that an axis can show."""
    return tuple(row for row in table.rows if row.snr_db > -math.inf)


def _figures(table: DeploymentTable) -> Table:
    names = (*(heading.replace("\n", " ") for heading in headings(table)), "choice")
    rows = tuple(
        Row((f"{number} {name}", *others, _choice(table, row)))
        for number, (row, (name, *others)) in enumerate(zip(table.rows, make_cells(table.rows), strict=True), start=1)
    )
    return Table("figures", "The fastest first", names, rows, tuple(range(1, len(names) - 1)))


def _choice(table: DeploymentTable, row: DeploymentRow) -> str:
    chosen = ("recommended" * (row.name == table.recommended), "Pareto front" * row.pareto)
    return ", ".join(filter(None, chosen))


def _facts(table: DeploymentTable) -> tuple[tuple[str, str], ...]:
    return (
        ("Network", table.network),
        ("Clips", table.clips),
        ("Machine", f"{table.environment.get('processor', 'unknown')}; {format_threads(table.threads)}"),
        ("Device", table.device),
        *((row.name, row.engine) for row in table.rows),
        ("Time", describe_phases(table.seconds)),
    )


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
