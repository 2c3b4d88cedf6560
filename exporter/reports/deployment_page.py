"""`bench --all --html`: the contents of the page; the template decides how it looks."""

from __future__ import annotations

import math
from datetime import datetime

from exporter.bench.deployment.types import DeploymentRow, DeploymentTable
from exporter.reports.bench import format_threads
from exporter.reports.console import describe_phases
from exporter.reports.deployment import conclusions, describe, headings, make_cells
from exporter.reports.html import Row, Table, render
from exporter.reports.scatter_chart import Point, scatter_chart


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
