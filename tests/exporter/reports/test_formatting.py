"""Numbers as consoles and pages show them."""

import math

import pytest

from exporter.reports.formatting import (
    budget_percent,
    csv_text,
    format_scores,
    replace_invisible,
    times,
)
from models.text import format_bytes


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (12, "12 bytes"),
        (4_200, "4.2 kB"),
        (313_646_127, "313.6 MB"),
        (4_000_000_000, "4,000.0 MB"),
        (252_000_000_000, "252.0 GB"),
    ],
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
    assert replace_invisible("a\x07\tb\n\u202e") == "a\ufffd\tb\n\ufffd"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("ApplyEyeMakeup", "ApplyEyeMakeup"),
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-1.5", "-1.5"),
        ("-1+2", "'-1+2"),
        ("a\r\nb", "a\\r\\nb"),
        ("\t=1", "\\t=1"),
        ("\udcff", "\\udcff"),
    ],
)
def test_cells_of_a_table_are_no_formulas(text: str, cell: str) -> None:
    assert csv_text(text) == cell
