"""How far outputs of two targets differ, and the process that measures matrix products."""

import os
from typing import Any, cast

import pytest

from exporter.bench import runner
from exporter.bench.plan import BenchPlan
from exporter.bench.roofline import Product
from exporter.bench.runner import BenchRun, difference
from exporter.bench.types import BenchRequest
from exporter.bench.worker_client import Worker
from models.progress import no_progress


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


@pytest.mark.parametrize(("device", "runs"), [("cpu", 2), ("cuda", 0)])
def test_one_process_measures_the_products_before_and_after_the_rounds(
    device: Any, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def measure_product(worker: Worker, threads: int) -> Product:
        assert threads == 1
        asked.append(worker.pid)
        return Product(float(len(asked)), "fake")

    monkeypatch.setattr(runner, "measure_product", measure_product)
    plan = BenchPlan(targets=(), feeds=cast("Any", None), plain=None, missing=(), notes=())
    run = BenchRun(BenchRequest((), device=device), plan, (1,), no_progress)
    run.measure(threads=1)
    assert len(asked) == runs
    assert len(set(asked)) == min(runs, 1)
    assert [row.rate for row in run.rooflines] == [2.0] * min(runs, 1)
    for pid in asked:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
