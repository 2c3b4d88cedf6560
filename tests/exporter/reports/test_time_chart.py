"""A chart over time: one scale, gaps, overlaps, ticks."""

import re
from xml.etree import ElementTree as ET

import pytest
from helpers.svg import svgs, texts

from exporter.reports.axes import format_time
from exporter.reports.time_chart import TimeSpan, time_chart


def lines(svg: ET.Element) -> list[list[tuple[float, float]]]:
    """The corners of each line in the colour of the subject."""
    found = [path for path in svg.iter("path") if "stroke: var(--subject)" in path.attrib.get("style", "")]
    pattern = re.compile(r"[ML] ([\d.]+) ([\d.]+)")
    return [[(float(x), float(y)) for x, y in pattern.findall(path.attrib["d"])] for path in found]


def test_a_chart_over_time_has_a_line_for_each_label_at_the_height_of_its_values() -> None:
    spans = [TimeSpan(0, 2, (1.0, 0.0)), TimeSpan(2, 4, (0.5, 0.5)), TimeSpan(6, 8, (0.0, 2.0))]
    markup = time_chart(["walk", "run"], spans, name="t", top=1.0, bottom=0.0, description="d")
    (svg,) = svgs(markup)
    assert {"walk", "run", "0 s", "2 s", "8 s"} <= set(texts(svg))
    walk, walk_after_the_gap, run, run_after_the_gap = lines(svg)
    per_second = (walk[-1][0] - walk[0][0]) / 4
    assert [x for x, _ in walk_after_the_gap] == pytest.approx([walk[0][0] + per_second * t for t in (6, 8)], abs=0.01)
    (base,) = {y for _, y in walk_after_the_gap}
    assert walk[2][1] - walk[0][1] == pytest.approx(base - walk[2][1], abs=0.01)  # 1, then half of it
    assert run[0][1] - run_after_the_gap[0][1] == pytest.approx(base - walk[0][1], abs=0.01)  # 2 is cut to the top


def test_clips_that_overlap_meet_in_the_middle() -> None:
    spans = [TimeSpan(0, 4, (0.2,)), TimeSpan(2, 6, (0.4,)), TimeSpan(4, 8, (0.6,))]
    (svg,) = svgs(time_chart(["walk"], spans, name="t", top=1.0, bottom=0.0, description="d"))
    (line,) = lines(svg)
    first, last = line[0][0], line[-1][0]
    assert sorted({round(8 * (x - first) / (last - first), 2) for x, _ in line}) == [0, 3, 5, 8]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.42, "0.4 s"), (10.0, "10 s"), (59.94, "59.9 s"), (60, "1:00"), (3725, "1:02:05")],
)
def test_times(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


@pytest.mark.parametrize("length", [0.3, 4, 59, 61, 700, 7300, 90_000, 10_000_000])
def test_ticks_of_time_are_few_and_round(length: float) -> None:
    (svg,) = svgs(time_chart(["r"], [TimeSpan(0, length, (1.0,))], name="t", top=1.0, bottom=0.0, description="d"))
    ticks = [text for text in texts(svg) if text not in ("r", "time in the video")]
    assert 2 <= len(set(ticks)) == len(ticks) <= 8
