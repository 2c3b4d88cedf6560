"""The page of `bench --html`. tests/exporter/reports/test_browser.py looks at it."""

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers import small_models
from helpers.bench_reports import LONG, REPORT, row
from helpers.page import Page, assert_complete

import exporter.workflows.bench
from exporter.bench.types import BenchReport, Ratio, Skipped
from exporter.cli.bench import bench_command
from exporter.errors import OutputError, UnavailableError
from exporter.reports.bench_page import bench_page, headline, make_series

MADE = datetime(2026, 11, 24, 12, tzinfo=UTC)


def hostile() -> BenchReport:
    spec = replace(REPORT.measurements[1], target="<script>alert(1)</script>")
    return replace(
        REPORT,
        measurements=(REPORT.measurements[0], spec),
        targets=(REPORT.targets[0], replace(REPORT.targets[1], name=spec.target)),
    )


@pytest.mark.parametrize("report", [REPORT, hostile(), replace(REPORT, measurements=(), loadings=())])
def test_the_page_is_complete_and_loads_nothing_from_the_network(report: BenchReport) -> None:
    page = Page(bench_page(report, MADE))
    assert_complete(page)
    assert "Written 2026-11-24 12:00 UTC" in page.shown("footer")[0]


def test_names_are_escaped_and_kept() -> None:
    page = Page(bench_page(hostile(), MADE))
    assert "<script" not in page.source
    assert "<script>alert(1)</script>" in page.shown("tbody", "th")


def test_every_number_stands_in_a_table() -> None:
    texts = Page(bench_page(REPORT, MADE)).shown("tbody")
    assert texts[:7] == ["c3d.onnx", "231.4", "254.5", "208.3", "4.32", "1", "1,163"]
    assert texts[7:16] == [LONG, "462.8", "509.1", "416.5", "2.16", "2.00", "1.95 to 2.06", "1,163", "2e-06"]
    assert texts[-5:] == ["c3d.onnx", "2", "0.60", "0.90", "3"]


def test_the_chart_distinguishes_artifacts_from_engines_and_draws_the_bound() -> None:
    artifacts, engines, bound = make_series(REPORT, 2, 1)
    assert (artifacts.values, artifacts.role) == ((0.2314, None), "subject")
    assert (engines.values, engines.role) == ((None, 0.4628), "reference")
    assert engines.spans == (None, (pytest.approx(0.41652), pytest.approx(0.50908)))
    assert (bound.name, bound.values) == ("lower bound of direct convolution: 428 ms", (0.428, 0.428))
    assert [series.role for series in make_series(REPORT, 2, 4)] == ["subject", "reference"]
    texts = Page(bench_page(REPORT, MADE)).shown("svg", "text")
    assert {"231.4", "462.8", "milliseconds per batch", "450"} <= set(texts)


def test_a_failed_artifact_is_named_first_and_a_skipped_engine_in_the_notes() -> None:
    failed = replace(REPORT, missing=(*REPORT.missing, Skipped("c3d.pt", "its process ended by SIGSEGV", False)))
    page = Page(bench_page(failed, MADE))
    assert "c3d.pt: its process ended by SIGSEGV" in page.shown("header")
    assert "OpenVINO was skipped: not installed; pip install 'c3d-export[openvino]'" in page.shown("li")
    assert "Some artifacts failed" not in Page(bench_page(REPORT, MADE)).shown("header")


def test_the_headline_names_the_fastest_and_by_how_much() -> None:
    assert headline(REPORT) == f"c3d.onnx is the fastest; {LONG} takes 2.00 times as long"
    slower = replace(REPORT, measurements=(REPORT.measurements[0], row(LONG, 1, 0.1, Ratio(0.43, 0.4, 0.5, 0.96))))
    assert headline(slower) == f"{LONG} takes 0.43 of the time of c3d.onnx"
    assert headline(replace(REPORT, measurements=REPORT.measurements[:1])) == "c3d.onnx: 231.4 ms"
    assert headline(replace(REPORT, measurements=())) == "Nothing was measured"


def test_path_and_libraries_are_checked_before_anything_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reported = CliRunner().invoke(
        bench_command, [str(tmp_path / "none.onnx"), "--html", str(tmp_path / "no" / "b.html")]
    )
    assert isinstance(reported.exception, OutputError)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    reported = CliRunner().invoke(bench_command, [str(tmp_path / "none.onnx"), "--html", str(tmp_path / "b.html")])
    assert isinstance(reported.exception, UnavailableError)


def test_the_command_writes_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def measured(*_: Any) -> BenchReport:
        return REPORT

    monkeypatch.setattr(exporter.workflows.bench, "benchmark", measured)
    small_models.network(tmp_path / "c3d.onnx")
    arguments = [str(tmp_path / "c3d.onnx"), "--html", str(tmp_path / "b.html"), "--json"]
    reported = CliRunner().invoke(bench_command, arguments)
    assert reported.exit_code == 0
    assert (tmp_path / "b.html").read_text("utf-8").startswith("<!doctype html>")
