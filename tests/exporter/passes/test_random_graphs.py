"""Random graphs: every target keeps their function, they equal themselves, and a fault is seen.

`benchmarks/random_graphs.py` runs thousands of them.
"""

from pathlib import Path

import pytest
from helpers.random_graphs import make_random_model, mutate
from helpers.random_graphs.checks import check_model


def test_a_model_is_a_function_of_its_seed() -> None:
    first, again, other = (make_random_model(seed).model.SerializeToString() for seed in (5, 5, 6))
    assert first == again != other


def test_a_fault_changes_one_thing() -> None:
    model = make_random_model(3).model
    found = mutate(model, 0)
    assert found is not None
    assert found[0].SerializeToString() != model.SerializeToString()


@pytest.mark.parametrize("seed", range(5))
def test_a_sample(seed: int, tmp_path: Path) -> None:
    findings, _ = check_model(make_random_model(seed), tmp_path)
    assert findings == []


@pytest.mark.heavy
def test_a_larger_sample(tmp_path: Path) -> None:
    found = [check_model(make_random_model(seed), tmp_path) for seed in range(100, 200)]
    assert [finding for findings, _ in found for finding in findings] == []
    assert sum(counts["rewritten"] for _, counts in found) > 100
    assert sum(counts["faults"] for _, counts in found) > 20
