"""How far outputs of two targets differ."""

import pytest

from exporter.bench import runner
from exporter.bench.runner import difference


@pytest.mark.parametrize(
    ("outputs", "first", "expected"),
    [
        ([[1.0, 2.0]], [[1.0, 4.0]], 0.5),
        ([[1.0], [8.0]], [[1.0], [4.0]], 1.0),
        ([[0.25]], [[0.0]], 0.25),
        ([[1.0]], [[1.0], [2.0]], None),
        ([[]], [[]], None),
    ],
)
def test_differences(outputs: list[list[float]], first: list[list[float]], expected: float | None) -> None:
    assert difference(outputs, first) == expected


def test_nan_is_a_difference() -> None:
    found = difference([[float("nan"), 1.0]], [[1.0, 1.0]])
    assert found is not None
    assert not found <= runner.SAME
