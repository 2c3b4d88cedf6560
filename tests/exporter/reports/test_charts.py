"""Charts: positions of values, row labels, and no markup that a page must not contain."""

import math
import re
from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest
from helpers.svg import svgs, texts

from exporter.reports.axes import format_plain, format_power
from exporter.reports.charts import Series, bar_chart, dot_chart, step_chart

NAMES = ["<b>&amp;", "$\\frac{1}{2}$ \x07", "动作.mp4", "plain"]


def marks(svg: ET.Element) -> list[tuple[float, float]]:
    return [(float(use.attrib["x"]), float(use.attrib["y"])) for use in svg.iter("use")]


def dots(values: tuple[float | None, ...], *, log: bool = True) -> str:
    return dot_chart(
        [f"r{i}" for i in range(len(values))], [Series("s", values)], name="n", axis="a", description="d", log=log
    )


def test_a_chart_is_drawn_once_in_the_colours_of_the_page() -> None:
    markup = dots((1e-7, 1e-6))
    (svg,) = svgs(markup)
    assert (svg.attrib["role"], svg.attrib["aria-label"]) == ("img", "d")
    assert "var(--subject)" in markup
    assert not re.search(r"#[0-9a-f]{6}\b", markup.replace("#000000", ""))
    assert "http" not in markup


def test_a_logarithmic_axis_keeps_ratios() -> None:
    (x1, y1), (x2, y2), (x3, y3) = marks(svgs(dots((1e-8, 1e-6, 1e-4)))[0])
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.01)
    assert y2 - y1 == pytest.approx(y3 - y2, abs=0.01) == pytest.approx(38, abs=0.01)


def test_zero_and_infinity_stand_at_the_ends() -> None:
    found = svgs(dots((0.0, 3e-6, math.inf, math.nan, None)))
    assert found
    for svg in found:
        positions = [x for x, _ in marks(svg)]
        assert len(positions) == 4
        assert min(positions) in (positions[0], positions[1])
        _, _, width, _ = map(float, svg.attrib["viewBox"].split())
        by_row = sorted(marks(svg), key=lambda position: position[1])
        assert by_row[0][0] < by_row[1][0] < by_row[2][0] == by_row[3][0] <= width


@pytest.mark.parametrize("values", [(), (None,), (0.0,), (math.inf,), (math.nan,), (1.0,), (1e-300, 1e300), (5e-324,)])
@pytest.mark.parametrize("log", [True, False])
def test_no_numbers_are_too_odd(values: tuple[float | None, ...], log: bool) -> None:
    assert len(svgs(dots(values, log=log))) == 1


@pytest.mark.parametrize("draw", [dot_chart, bar_chart])
def test_names_are_text_whatever_they_are(draw: Callable[..., str]) -> None:
    markup = draw(NAMES, [Series("<i>", (1.0, 2.0, 3.0, 4.0))], name="n", axis="<a> $x$", description='"><script>')
    for svg in svgs(markup):
        assert {"<b>&amp;", "$\\frac{1}{2}$ \ufffd", "动作.mp4", "plain", "<a> $x$"} <= set(texts(svg))
        assert svg.attrib["aria-label"] == '"><script>'
    assert "<script" not in markup
    assert "&lt;i&gt;" in markup


def test_long_names_lose_their_middle() -> None:
    name = "a-very-long-name-of-a-video-from-the-second-of-three-cameras-0001.mp4"
    svg = svgs(dot_chart([name], [Series("s", (1.0,))], name="n", axis="a", description="d"))[0]
    (label,) = [text for text in texts(svg) if "…" in text]
    assert len(label) == 50
    assert label.startswith("a-very-long")
    assert label.endswith("cameras-0001.mp4")


def test_bars_are_as_long_as_their_values_and_say_them() -> None:
    series = [Series("median", (1.0, 2.0), spans=((0.9, 1.2), (1.9, 2.3))), Series("peer", (4.0, None), "reference")]
    markup = bar_chart(
        ["a", "b"], series, name="n", axis="ms", description="d", format_value=lambda value: f"{value:.1f} ms"
    )
    svg = svgs(markup)[0]
    assert {"1.0 ms", "2.0 ms", "4.0 ms"} <= set(texts(svg))
    widths: list[float] = []
    for path in svg.iter("path"):
        if "fill: var(--subject)" in path.attrib.get("style", "") or "fill: var(--reference)" in path.attrib.get(
            "style", ""
        ):
            xs = [float(x) for x in re.findall(r"[ML] (-?[\d.]+)", path.attrib["d"])]
            widths.append(max(xs) - min(xs))
    assert [width / widths[0] for width in widths] == pytest.approx([1, 4, 2], rel=1e-3)  # row by row


def test_a_limit_is_a_line_in_every_row_that_hides_no_value() -> None:
    series = [Series("median", (1.0, 4.0)), Series("bound", (1.1, 1.1), "limit")]
    svg = svgs(
        bar_chart(["a", "b"], series, name="n", axis="ms", description="d", format_value=lambda value: f"{value:g} s")
    )[0]
    drawn = [path.attrib["d"] for path in svg.iter("path") if "stroke: var(--limit)" in path.attrib.get("style", "")]
    positions = {float(x) for line in drawn for x in re.findall(r"[ML] (-?[\d.]+)", line)}
    assert len(drawn) == 2
    assert len(positions) == 1
    values = [text for text in svg.iter("text") if "".join(text.itertext()).strip() == "1 s"]
    assert [float(text.attrib["x"]) > max(positions) for text in values] == [True]


def test_histograms_mark_the_line_and_their_bins() -> None:
    series = [Series("artifact", (10.0, 60.0, 30.0)), Series("reference", (20.0, 80.0, 0.0), "reference")]
    svg = svgs(step_chart([0.1, 1, 10, 100], series, name="n", axis="a", description="d", line=(10, "here")))[0]
    assert {"here", "10⁻¹", "10⁰", "10¹", "10²"} <= set(texts(svg))


@pytest.mark.parametrize(
    ("value", "label"),
    [(1e-7, "10⁻⁷"), (2e-7, "2·10⁻⁷"), (5e-10, "5·10⁻¹⁰"), (1.0, "10⁰"), (1000.0, "10³"), (1e-300, "10⁻³⁰⁰")],
)
def test_ticks(value: float, label: str) -> None:
    assert format_power(value) == label
    assert format_plain(0.25) == "0.25"
