"""A chart of values over the time of a video: inline SVG, as those of `exporter.reports.charts`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.reports.axes import label_rows, set_time_ticks
from exporter.reports.svg import COLOURS, render_svg

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

TIME_ROW, TIME_BASE, TIME_HEIGHT = 72, 0.47, 0.62
"""Height in pixels of a row of a chart over time, the distance of its base below its middle, and the height of the
largest value above it, as fractions of the row; its label is at the top."""


@dataclass(frozen=True)
class TimeSpan:
    """A value for each row of a chart over time, from `start` to `end` in seconds."""

    start: float
    end: float
    values: tuple[float, ...]


def time_chart(
    labels: Sequence[str], spans: Sequence[TimeSpan], *, name: str, top: float, bottom: float, description: str
) -> Markup:
    """Draw a filled line for each label over a common axis of time, each in a row of its own.

    Rows need no colours to tell them apart, on a screen or on paper. All have the same vertical scale. Where spans
    overlap, the middle of the overlap ends one and begins the next; where they leave a gap, nothing is drawn.

    Args:
        labels: row labels, from the top.
        spans: the values, in the order of time; each has one for each label.
        name: unique in the page.
        top: the value at the top of a row, above `bottom`.
        bottom: the value at the bottom of a row.
        description: the text alternative of the chart.
    """
    from markupsafe import Markup

    low, high = spans[0].start, max(span.end for span in spans)

    def draw(axes: Axes) -> None:
        axes.set_xlim(low, high if high > low else low + 1)
        set_time_ticks(axes, *axes.get_xlim())
        label_rows(axes, labels, (), lines=False)
        for row in range(len(labels)):
            for times, values in _runs(spans, row):
                heights = [TIME_HEIGHT * (min(max(value, bottom), top) - bottom) / (top - bottom) for value in values]
                line = [row + TIME_BASE - height for height in heights]
                axes.fill_between(times, row + TIME_BASE, line, color=COLOURS["subject"], alpha=0.3, linewidth=0)
                axes.plot(times, line, color=COLOURS["subject"], linewidth=1.5, solid_joinstyle="round")
            axes.axhline(row + TIME_BASE, color=COLOURS["muted"], linewidth=0.75)

    return render_svg(draw, len(labels), Markup(""), name, "time in the video", description, TIME_ROW)


def _runs(spans: Sequence[TimeSpan], row: int) -> Iterator[tuple[list[float], list[float]]]:
    """Return the corners of each stretch without a gap: times, and a row's values."""
    times: list[float] = []
    values: list[float] = []
    for number, span in enumerate(spans):
        before = spans[number - 1] if number else None
        after = spans[number + 1] if number + 1 < len(spans) else None
        joined = before is not None and span.start <= before.end
        if times and not joined:
            yield times, values
            times, values = [], []
        start = (before.end + span.start) / 2 if before is not None and joined else span.start
        end = (span.end + after.start) / 2 if after is not None and after.start <= span.end else span.end
        times += [start, end]
        values += [span.values[row]] * 2
    if times:
        yield times, values
