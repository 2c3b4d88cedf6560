"""The table of `bench --all` on a console, as JSON, and as a page."""

import json
import math
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from helpers.deployments import EXACT, FAST, MISSING, ROWS, STORED, row, table
from helpers.page import Page, assert_complete
from rich.console import Console

from exporter.bench.deployment.types import DeploymentTable, MissingRow
from exporter.reports.deployment import deployment_to_dict, make_cells, print_deployment
from exporter.reports.deployment_page import deployment_page, make_points
from exporter.reports.json_report import dump
from exporter.types import PrecisionOptions


def printed(shown: DeploymentTable) -> list[str]:
    stream = StringIO()
    print_deployment(shown, Console(file=stream, width=120, highlight=False, soft_wrap=True))
    return stream.getvalue().splitlines()


def test_the_last_line_is_the_command_of_the_recommended_row() -> None:
    lines = printed(table())
    assert lines[-4:] == [
        "exact: onnx fp32 cpu, 131 ms at 119.0 dB",
        "c3d-export --precision fp32",
        "recommended: onnx int8 cpu, 23.1 ms at 34.2 dB",
        "c3d-export --precision int8",
    ]


def test_a_long_command_is_one_line() -> None:
    command = "c3d-export --weights " + "x" * 300 + " --labels '[bold]'"
    assert printed(table((row(FAST, 0.02, 40.0, command=command),)))[-1] == command


def test_the_fastest_is_the_first_and_rows_are_marked() -> None:
    lines = [line.split() for line in printed(table())]
    start = next(number for number, line in enumerate(lines) if line[:1] == [">*"])
    assert " ".join(lines[start]) == ">* onnx int8 cpu 20.0 0.25 34.2 100% 23.1 92.4 43.29 100"
    assert lines[start + 1][:4] == ["*", "onnx", "fp32", "cpu"]
    assert lines[start + 2][0] == "onnx"
    assert lines[start + 3][:4] == ["*", "torch", "eager", "-"]


def test_what_is_missing_and_what_failed_has_its_reason() -> None:
    lines = printed(table())
    assert "missing  openvino: not installed; pip install 'c3d-export[openvino]'" in lines
    assert "FAILED   onnx fp16 portable: fc6 overflows" in lines


def test_without_a_row_that_holds_it_nothing_is_recommended() -> None:
    shown = table(wanted=PrecisionOptions(min_snr=125.0))
    lines = printed(shown)
    assert lines[-2:] == ["c3d-export --precision fp32", "nothing is recommended: no row is the fastest"]
    assert Page(deployment_page(shown)).shown("h1") == ["No export holds the accuracy asked for"]


@pytest.mark.parametrize(("snr_db", "shown"), [(math.inf, "equal"), (-math.inf, "-inf"), (34.25, "34.2")])
def test_decibels_without_an_error_or_without_a_number(snr_db: float, shown: str) -> None:
    assert make_cells([row(FAST, 0.02, snr_db)])[0][3] == shown


def test_layers_in_a_higher_precision_are_counted_in_the_name() -> None:
    rows = make_cells([row(FAST, 0.02, 34.0, raised=2), row(FAST, 0.02, 34.0)])
    assert [cells[0] for cells in rows] == ["onnx int8 cpu, 2 layers raised", "onnx int8 cpu"]


def test_the_numbers_of_a_column_have_the_same_decimals() -> None:
    rows = make_cells([row(FAST, 0.0187, 34.0), row(EXACT, 0.1331, 119.0), row(STORED, 1.0042, 26.0)])
    assert [cells[5] for cells in rows] == ["18.7", "133.1", "1,004.2"]


def test_json_holds_everything() -> None:
    shown = replace(table((*ROWS, row(FAST, 9.0, -math.inf, None))), folder=Path("/kept"))
    found = json.loads(dump(deployment_to_dict(shown)))
    assert (found["complete"], found["recommended"], found["folder"]) == (False, "onnx int8 cpu", "/kept")
    assert found["command"] == "c3d-export --precision int8"
    first, last = found["rows"][0], found["rows"][-1]
    assert first["variant"] == {"format": "onnx", "precision": "int8", "target": "cpu", "weight_dtype": "fp32"}
    assert [speed["batch"] for speed in first["speeds"]] == [1, 4]
    assert last["snr_db"] is None
    assert replace(table(), missing=MISSING[:1]).complete


def test_points_are_numbered_as_the_rows_of_the_table() -> None:
    points = make_points(table((*ROWS, row(EXACT, 0.2, -math.inf))))
    assert [(point.number, point.role) for point in points] == [
        (1, "subject"),
        (2, "subject"),
        (4, "subject"),
        (5, "reference"),
    ]
    assert points[0].x == pytest.approx(23.1)
    assert points[0].y == pytest.approx(0.01939, rel=1e-3)


HOSTILE = table(
    (row(FAST, 0.02, math.inf, name="<script>alert(1)</script>"),), missing=(MissingRow("x", "<b>", "failed"),)
)


@pytest.mark.parametrize("shown", [table(), HOSTILE, table(ROWS[2:3]), table((row(FAST, 0.02, -math.inf),))])
def test_the_page_is_complete_and_loads_nothing_from_the_network(shown: DeploymentTable) -> None:
    page = Page(deployment_page(shown))
    assert_complete(page)
    assert "<script" not in page.source


def test_the_page_has_the_table_the_commands_and_the_chart() -> None:
    page = Page(deployment_page(table()))
    assert page.shown("h1") == ["onnx int8 cpu, 23.1 ms at 34.2 dB"]
    assert page.shown("pre")[-1] == "c3d-export --precision int8"
    texts = page.shown("tbody")
    assert texts[:4] == ["1 onnx int8 cpu", "20.0", "0.25", "34.2"]
    assert "recommended, Pareto front" in texts
    assert {"1", "2", "3", "4", "milliseconds per batch"} <= set(page.shown("svg", "text"))
