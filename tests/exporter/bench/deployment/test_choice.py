"""The Pareto front and the recommendation."""

import math

import pytest
from helpers.deployments import EXACT, FAST, ROWS, STORED, row
from hypothesis import given
from hypothesis import strategies as st

from exporter.bench.deployment.choice import describe_rule, find_exact, mark_pareto, pareto_front, recommend
from exporter.bench.deployment.types import Variant
from exporter.types import PrecisionOptions

small = st.integers(0, 5)


@given(st.lists(st.tuples(small, small), max_size=12))
def test_the_front_is_what_no_other_point_dominates(points: list[tuple[int, int]]) -> None:
    def dominates(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return a != b and a[0] <= b[0] and a[1] <= b[1]

    expected = {i for i, point in enumerate(points) if not any(dominates(other, point) for other in points)}
    assert pareto_front(points) == expected


def test_rows_are_ordered_by_latency_and_the_front_is_marked() -> None:
    marked = mark_pareto(ROWS)
    assert [(found.name, found.pareto) for found in marked] == [
        ("onnx int8 cpu", True),
        ("onnx fp32 cpu", True),
        ("onnx fp32 cpu, int8 weights", False),
        ("torch eager", True),
    ]


def test_a_row_that_is_not_finite_is_neither_on_the_front_nor_recommended() -> None:
    broken = row(FAST, 0.001, -math.inf)
    assert [found.pareto for found in mark_pareto((broken, row(EXACT, 0.1, 119.0)))] == [False, True]
    assert recommend((broken,), PrecisionOptions()) is None


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (PrecisionOptions(), FAST),
        (PrecisionOptions(min_snr=34.25), FAST),
        (PrecisionOptions(min_snr=34.3), EXACT),
        (PrecisionOptions(min_top1=0.9), EXACT),
        (PrecisionOptions(min_snr=125.0), None),
    ],
)
def test_the_fastest_export_that_holds_what_is_asked_for_is_recommended(
    wanted: PrecisionOptions, expected: Variant | None
) -> None:
    rows = (row(FAST, 0.02, 34.25, 0.75), row(EXACT, 0.1, 119.0), row(None, 0.01, 130.0), row(STORED, 0.05, 29.0))
    best = recommend(rows, wanted)
    assert (best and best.variant) == expected


def test_stored_weights_have_the_minimum_of_their_precision() -> None:
    assert recommend((row(STORED, 0.05, 29.9), row(EXACT, 0.1, 119.0)), PrecisionOptions()) == row(EXACT, 0.1, 119.0)
    assert recommend((row(STORED, 0.05, 30.1), row(EXACT, 0.1, 119.0)), PrecisionOptions()) == row(STORED, 0.05, 30.1)


@pytest.mark.parametrize(("latency", "expected"), [(0.0209, EXACT), (0.0211, FAST)])
def test_of_rows_within_five_percent_the_most_accurate_is_recommended(latency: float, expected: Variant) -> None:
    best = recommend((row(FAST, 0.02, 34.0), row(EXACT, latency, 119.0)), PrecisionOptions())
    assert best is not None
    assert best.variant == expected


def test_networks_without_class_scores_have_no_top1_to_miss() -> None:
    assert recommend((row(FAST, 0.02, 34.0, None),), PrecisionOptions(min_top1=1.0)) is not None


def test_exact_is_float32_with_float32_weights() -> None:
    slow = row(Variant("torchscript", "fp32", "cpu"), 0.2, 121.0)
    assert find_exact((*ROWS, slow)) == ROWS[1]
    assert find_exact((row(FAST, 0.1, 40.0), row(None, 0.1, 130.0))) is None
    equally_fast = row(Variant("torchscript", "fp32", "cpu"), 1.04 * ROWS[1].latency, ROWS[1].snr_db + 1)
    assert find_exact((*ROWS, equally_fast)) == equally_fast


def test_the_rule_names_the_limits() -> None:
    assert "int8 30 dB" in describe_rule(PrecisionOptions())
    assert describe_rule(PrecisionOptions(min_snr=50, min_top1=0.99)) == (
        "the fastest export that holds at least 50 dB and the highest class of at least 99% of them on the held-out "
        "clips; of those within 5% of it, the most accurate"
    )
