"""Numbers as consoles and pages show them."""

import io
import math

import pytest
from rich.console import Console

from exporter.reports.formatting import budget_percent, escape, format_bytes, format_scores, printable, times


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12 bytes"), (4_200, "4.2 kB"), (313_646_127, "313.6 MB"), (4_000_000_000, "4,000.0 MB")]
)
def test_sizes(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("used", "text"),
    [(0.0, "0%"), (0.002, "<1%"), (0.07, "7%"), (3.1, "310%"), (8352.0, "8,352x"), (1e9, "1e+09x"), (math.nan, "inf")],
)
def test_budget_percent(used: float, text: str) -> None:
    assert budget_percent(used) == text


@pytest.mark.parametrize(("value", "text"), [(1.3, "1.3 times"), (8352.0, "8,352 times")])
def test_times(value: float, text: str) -> None:
    assert times(value) == text


@pytest.mark.parametrize(
    ("values", "texts"),
    [((12.3456, -1.0), ("12.346", "-1.000")), ((1e-5,), ("1.000e-05",)), ((0.0,), ("0.000e+00",)), ((), ())],
)
def test_scores_of_a_table_have_the_same_decimals(values: tuple[float, ...], texts: tuple[str, ...]) -> None:
    assert format_scores(values) == texts


def test_control_characters_are_replaced() -> None:
    assert printable("a\x07\tb\n\u202e") == "a\ufffd\tb\n\ufffd"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("conv1.weight", "conv1.weight"),
        ("a\nloads     yes", "a\\nloads     yes"),
        ("\x1b[2K\x1b[1A[red]", "\\x1b[2K\\x1b[1A[red]"),
        ("\x9b2J\u202egnp.exe\udc80", "\\x9b2J\\u202egnp.exe\\udc80"),
        ("Größe 動画.mp4", "Größe 動画.mp4"),
    ],
)
def test_names_of_files_cannot_forge_lines_of_a_console(text: str, shown: str) -> None:
    printed = io.StringIO()
    Console(file=printed, width=200).print(escape(text))
    assert printed.getvalue() == f"{shown}\n"
