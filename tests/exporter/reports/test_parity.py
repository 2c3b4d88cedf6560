"""What people see fits an 80-column terminal and says what happened."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from exporter.reports.parity import print_parity, print_reports
from exporter.results import Comparison, ParityReport, Placement, StructureCheck


def report(*, passed: bool, error: float = 5e-7, fallback_nodes: tuple[str, ...] = ()) -> ParityReport:
    rows = tuple(
        Comparison(
            name,
            output,
            1,
            error,
            1e-7,
            9.5e-7,
            3e-7,
            7.6e-6,
            error / 7.6e-6,
            1.0,
            0.9999999,
            120.0,
            error < 7.6e-6,
            "same",
            "same",
        )
        for name in ("random", "saturated + video", "a-long-name-of-a-video.mp4")
        for output in ("logits", "fc6")
    )
    placement = Placement("cpu", 27, fallback_nodes)
    return ParityReport(
        "a/c3d.onnx",
        "onnxruntime",
        placement,
        "the network",
        "PyTorch",
        None,
        "within 8 times",
        rows,
        (),
        ("a [note]",),
        passed,
        {"reference": 1.0},
    )


def printed(value: ParityReport) -> str:
    stream = io.StringIO()
    print_parity(value, Console(file=stream, width=80, highlight=False, soft_wrap=True))
    return stream.getvalue()


def test_no_number_is_cut_on_80_columns() -> None:
    text = printed(report(passed=True))
    assert "…" not in text
    tables = [line for line in text.splitlines() if "5.0e-07" in line]
    assert len(tables) == 6
    assert max(map(len, tables)) <= 80
    assert all(" 5.0e-07 1.0e-07 9.5e-07 3.0e-07     7% 1.000000 same  pass" in line for line in tables)
    assert sum(line.startswith("saturated+video ") for line in tables) == 2


def test_the_first_line_is_not_empty_and_one_is_between_two_reports() -> None:
    stream, value = io.StringIO(), report(passed=True)
    print_reports([value, value], Console(file=stream, width=80, highlight=False, soft_wrap=True))
    lines = stream.getvalue().splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("parity of ")]
    assert (starts[0], len(starts), lines[starts[1] - 1]) == (0, 2, "")


def test_the_name_of_a_batch_is_broken_between_its_inputs() -> None:
    value = report(passed=True)
    rows = tuple(replace(row, input="random + saturated + video") for row in value.comparisons)
    lines = printed(replace(value, comparisons=rows)).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("random+ "))
    assert lines[first + 1].strip() == "saturated+video"


def test_each_output_has_its_table_and_notes_are_verbatim() -> None:
    text = printed(report(passed=True))
    assert text.index("output logits") < text.index("output fc6")
    assert "note     a [note]" in text
    assert "result   passed: within 8 times" in text


def test_a_failure_names_the_worst() -> None:
    text = printed(report(passed=False, error=1.0))
    assert "result   FAILED: 6 of 6 comparisons; worst: random, 1e+05x of the error budget" in text
    assert text.count("FAIL") == 7


@pytest.mark.parametrize(("counts", "reason"), [(True, "the graph differs"), (False, "see the notes")])
def test_a_graph_that_differs_is_the_reason_where_it_counts(reason: str, *, counts: bool) -> None:
    structure = StructureCheck(False, worst="random", budget_used=30.0, counts=counts)
    text = printed(replace(report(passed=True), passed=False, structure=structure))
    assert f"FAILED: {reason}" in text


def test_a_fallback_is_named_as_the_reason() -> None:
    text = printed(report(passed=False, fallback_nodes=("pool5 (MaxPool)",)))
    assert "FAILED: some nodes ran on another device (--allow-fallback accepts that)" in " ".join(text.split())


def test_discrete_outputs_show_shares_of_equal_elements() -> None:
    (row, *_) = report(passed=True).comparisons
    row = replace(row, max_error=0.01, float32_max_error=0.002, budget=0.04, equal=0.99)
    text = printed(replace(report(passed=True), comparisons=(row,)))
    assert all(share in text for share in ("99.0000%", "99.8000%", "4.0000%"))
    assert max(map(len, text.split("\n\n")[1].splitlines())) <= 80
