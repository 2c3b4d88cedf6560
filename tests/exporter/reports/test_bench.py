"""A benchmark's report on the console and as JSON."""

import io
import json
import re
from dataclasses import replace

import pytest
from helpers.bench_reports import LONG, REPORT
from rich.console import Console

from exporter.bench.types import BenchReport, Ratio, Skipped
from exporter.reports.bench import bench_to_dict, format_count, format_interval, milliseconds, print_bench
from exporter.reports.json_report import dump


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


def test_everything_else_is_printed_verbatim() -> None:
    text = printed(REPORT)
    assert "batch 1, 2 threads: milliseconds per batch, 20 interleaved rounds" in text
    assert "roofline matrix products reach 180 GFLOP/s (torch, 2048 x 2048) on 2 threads" in text
    assert "direct convolution of batch 1 takes at least 428 ms: 38.5 G multiply-adds (a/c3d.onnx)" in text
    assert "skipped  OpenVINO: not installed; pip install 'c3d-export[openvino]'" in text
    assert "note     a [note]" in text
    assert f"target   {LONG}: b in MNN 3.6.1" in text


def test_a_failed_artifact_is_distinct_from_a_skipped_engine() -> None:
    failed = replace(REPORT, missing=(Skipped("c3d.pt", "its process ended by SIGSEGV", False),))
    assert "FAILED   c3d.pt: its process ended by SIGSEGV" in printed(failed)
    assert (REPORT.complete, failed.complete) == (True, False)


def test_json_holds_every_number_and_null_for_nan() -> None:
    output = json.loads(dump(bench_to_dict(REPORT)))
    assert output["complete"] is True
    assert output["measurements"][1]["ratio"] == {"value": 2.0, "low": 1.95, "high": 2.06, "confidence": 0.959}
    assert output["measurements"][3]["difference"] is None
    assert output["rooflines"][0]["bounds"] == [{"batch": 1, "multiply_adds": 38_500_000_000, "seconds": 0.428}]


@pytest.mark.parametrize(
    ("seconds", "reported"), [(10.5, "10500"), (0.2314, "231.4"), (0.01235, "12.3"), (1.53e-5, "0.0153")]
)
def test_milliseconds(seconds: float, reported: str) -> None:
    assert milliseconds(seconds) == reported


@pytest.mark.parametrize(("count", "reported"), [(38_532_268_032, "38.5 G"), (1_327_204, "1.33 M"), (1024, "1,024")])
def test_amounts(count: int, reported: str) -> None:
    assert format_count(count) == reported


def test_an_interval_of_few_rounds_says_its_confidence() -> None:
    assert format_interval(Ratio(2, 1.5, 2.5, 0.96)) == "1.50 to 2.50"
    assert format_interval(Ratio(2, 1.5, 2.5, 0.75)) == "1.50 to 2.50 (75%)"
