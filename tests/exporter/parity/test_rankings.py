"""Every clip has its highest classes in the report, once, whatever batches it stood in."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.parity.evaluate import evaluate
from exporter.parity.execution import RunResult, RunSpec
from exporter.parity.inputs import InputBatch, InputSet
from exporter.results import Placement, Ranking
from exporter.types import ParityOptions
from models.config import INPUT_NAME

SCORES = np.random.default_rng(0).standard_normal((3, 487))
NAMES = ("a", "b", "c")


class Source:
    float64_name, float32_name, features = "float64", "float32", frozenset({"fc6"})


class Known:
    """A truth that is known beforehand."""

    source, seconds = Source(), 0.0
    inputs = InputSet({INPUT_NAME: np.zeros((3, 1))}, NAMES)

    def compute(self, _rows: Any) -> None: ...

    def float64(self, _output: str, rows: tuple[int, ...]) -> NDArray[np.float64]:
        return SCORES[list(rows)]

    def float32(self, _output: str, rows: tuple[int, ...]) -> NDArray[np.float32]:
        return SCORES[list(rows)].astype(np.float32)


def ranked(output: str, *batches: tuple[int, ...], change: float = 0.0) -> tuple[Ranking, ...]:
    asked = tuple(
        (
            InputBatch("+".join(NAMES[row] for row in rows), rows),
            {output: (SCORES[list(rows)] + change).astype(np.float32)},
        )
        for rows in batches
    )
    trial = RunSpec("m.onnx", None, None, None)  # pyright: ignore
    answers = RunResult(trial, "r", Placement("cpu", 1), "float32", None, asked, {})  # pyright: ignore
    return evaluate(answers, Known(), ParityOptions()).rankings  # pyright: ignore


@pytest.mark.parametrize("batches", [[(0,), (1,), (2,), (1, 2)], [(0, 1), (2, 0)]])
def test_each_clip_once(batches: list[tuple[int, ...]]) -> None:
    reported = ranked("logits", *batches)
    assert [each.input for each in reported] == ["a", "b", "c"]
    for row, each in enumerate(reported):
        wanted = sorted(range(487), key=lambda place, row=row: -SCORES[row, place])[:5]
        assert [number for number, _ in each.float64] == wanted
        assert [number for number, _ in each.artifact] == wanted
        assert [score for _, score in each.float64] == [SCORES[row, number] for number in wanted]


def test_features_and_nan_have_no_classes() -> None:
    assert ranked("fc6", (0,), (1,)) == ()
    assert ranked("logits", (0,), change=np.nan) == ()
