"""A benchmark's report on the console, as JSON and as a page."""

import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from exporter.bench.report import BenchReport, Bound, Entrant, Loading, Measurement, Missing, Ratio, Roofline
from exporter.errors import OutputError
from exporter.reports.bench import amount, interval, milliseconds, print_bench
from exporter.reports.bench_html import bench_page, charts_of, check_place, headline, write_bench_html
from exporter.reports.machine import bench_object, dump

LONG = "a [bold]name that is long.onnx"


def row(name: str, batch: int, median: float, ratio: Ratio, difference: float | None = 2e-6) -> Measurement:
    return Measurement(
        name, batch, 2, 20, 20, median, median * 1.1, median * 0.9, batch / median, ratio, 1_163_000_000, difference
    )


REPORT = BenchReport(
    first="c3d.onnx",
    inputs="clip float32 (batch, 3, 16, 112, 112); standard normal, seed 0",
    unit="clips",
    device="cpu",
    entrants=(Entrant("c3d.onnx", "onnxruntime 1.32.0", "a/c3d.onnx", False), Entrant(LONG, "MNN 3.6.1", "b", True)),
    measurements=(
        row("c3d.onnx", 1, 0.2314, Ratio(1, 1, 1, 1), None),
        row(LONG, 1, 0.4628, Ratio(2.0, 1.95, 2.06, 0.959)),
        row("c3d.onnx", 4, 0.92, Ratio(1, 1, 1, 1), None),
        row(LONG, 4, 10.5, Ratio(11.4, 11.0, 12.0, 0.75), float("nan")),
    ),
    loadings=(Loading("c3d.onnx", 2, (0.5, 0.6, 0.7), (0.8, 0.9, 1.0), 0.6, 0.9),),
    rooflines=(Roofline(2, 180e9, "torch, 2048 x 2048", "a/c3d.onnx", (Bound(1, 38_500_000_000, 0.428),), ()),),
    missing=(Missing("OpenVINO", "not installed; pip install openvino", True),),
    method=("a sentence",),
    notes=("a [note]",),
    environment={"processor": "a processor, 2 usable cores", "system": "Linux"},
    seconds=93.2,
)


def printed(report: BenchReport, width: int = 80) -> str:
    stream = io.StringIO()
    print_bench(report, Console(file=stream, width=width, highlight=False, soft_wrap=True))
    return stream.getvalue()


def test_tables_fit_80_columns_and_no_number_is_cut() -> None:
    text = printed(REPORT)
    assert "…" not in text
    first = next(line for line in text.splitlines() if line.startswith("c3d.onnx "))
    assert first.split() == ["c3d.onnx", "231.4", "254.5", "208.3", "4.32", "1", "1,163"]
    assert max(len(line) for line in text.splitlines() if "1,163" in line) <= 80
    assert re.search(r"462.8 +509.1 +416.5 +2.16 +2.00 +1.95 to 2.06 +1,163 +2e-06", text)
    assert "11.40 11.00 to 12.00 (75%)" in text


def test_everything_else_is_told_verbatim() -> None:
    text = printed(REPORT)
    assert "batch 1, 2 threads: 20 rounds in turns" in text
    assert "roofline matrix products reach 180 GFLOP/s (torch, 2048 x 2048) on 2 threads" in text
    assert "direct convolution of batch 1 takes at least 428 ms: 38.5 G multiply-adds (a/c3d.onnx)" in text
    assert "missing  OpenVINO: not installed; pip install openvino" in text
    assert "note     a [note]" in text
    assert f"measured {LONG}: b in MNN 3.6.1" in text


def test_an_artifact_that_failed_is_told_apart_from_an_absent_peer() -> None:
    failed = replace(REPORT, missing=(Missing("c3d.pt", "its process ended by SIGSEGV", False),))
    assert "FAILED   c3d.pt: its process ended by SIGSEGV" in printed(failed)
    assert (REPORT.complete, failed.complete) == (True, False)


def test_json_holds_every_number_and_null_for_nan() -> None:
    answer = json.loads(dump(bench_object(REPORT)))
    assert answer["complete"] is True
    assert answer["measurements"][1]["ratio"] == {"value": 2.0, "low": 1.95, "high": 2.06, "confidence": 0.959}
    assert answer["measurements"][3]["difference"] is None
    assert answer["rooflines"][0]["bounds"] == [{"batch": 1, "multiply_adds": 38_500_000_000, "seconds": 0.428}]


@pytest.mark.parametrize(
    ("seconds", "told"), [(10.5, "10500"), (0.2314, "231.4"), (0.01235, "12.3"), (1.53e-5, "0.0153")]
)
def test_milliseconds(seconds: float, told: str) -> None:
    assert milliseconds(seconds) == told


@pytest.mark.parametrize(("count", "told"), [(38_532_268_032, "38.5 G"), (1_327_204, "1.33 M"), (1024, "1,024")])
def test_amounts(count: int, told: str) -> None:
    assert amount(count) == told


def test_an_interval_of_few_rounds_says_its_confidence() -> None:
    assert interval(Ratio(2, 1.5, 2.5, 0.96)) == "1.50 to 2.50"
    assert interval(Ratio(2, 1.5, 2.5, 0.75)) == "1.50 to 2.50 (75%)"


class Page(HTMLParser):
    """Collects the texts of a page, and checks that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_the_page_is_whole_escapes_names_and_asks_nothing_of_a_network() -> None:
    hostile = replace(REPORT.measurements[1], contestant="<script>alert(1)</script>")
    report = replace(
        REPORT,
        measurements=(REPORT.measurements[0], hostile),
        entrants=(REPORT.entrants[0], replace(REPORT.entrants[1], name=hostile.contestant)),
    )
    text = bench_page(report, datetime(2026, 11, 24, 12, tzinfo=UTC))
    page = Page(text)
    assert page.open == []
    assert "<script" not in text
    assert "http" not in text
    assert not [value for name, value in page.attributes if name in ("src", "href")]
    assert "<script>alert(1)</script>" in page.texts
    for told in ("231.4", "462.8 ms", "1.95 to 2.06", "Written 2026-11-24 12:00 UTC"):
        assert any(told in part for part in page.texts), told


def test_the_chart_places_every_bar_and_the_bound() -> None:
    one, four = charts_of(REPORT)
    assert one.bound is not None
    places = [one.bars[0].minimum, one.bars[0].median, one.bars[0].p90, one.bound, one.bars[1].median]
    assert [place / places[0] for place in places] == pytest.approx([1, 1 / 0.9, 1.1 / 0.9, 0.428 / 0.20826, 2 / 0.9])
    assert 95 < one.bars[1].p90 < 100
    assert four.bound is None


def test_the_headline_says_who_is_faster_by_how_much() -> None:
    assert headline(REPORT) == f"c3d.onnx is the fastest; {LONG} takes 2.00 times as long"
    slower = replace(REPORT, measurements=(REPORT.measurements[0], row(LONG, 1, 0.1, Ratio(0.43, 0.4, 0.5, 0.96))))
    assert headline(slower) == f"{LONG} takes 0.43 of c3d.onnx's time"
    assert headline(replace(REPORT, measurements=REPORT.measurements[:1])) == "c3d.onnx alone: 231.4 ms"
    assert headline(replace(REPORT, measurements=())) == "Nothing was measured"


def test_a_place_that_cannot_be_written_to_is_told_early(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder"):
        check_place(tmp_path / "none" / "b.html")
    with pytest.raises(OutputError, match="it is a folder"):
        check_place(tmp_path)
    check_place(tmp_path / "b.html")
    write_bench_html(tmp_path / "b.html", REPORT)
    assert (tmp_path / "b.html").read_text().startswith("<!doctype html>")
