"""The highest classes of an artifact's class scores, beside those of the reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.parity.compare import TOP_K, is_ranking, top_k
from exporter.parity.discrete import is_discrete
from exporter.parity.execution import RunResult
from exporter.parity.golden import GoldenOutputs
from exporter.results import Ranking

Scores = NDArray[Any]


def rank_classes(result: RunResult, golden: GoldenOutputs) -> tuple[Ranking, ...]:
    """Rank the classes of every input in the first batch that contains it, where all its scores are finite."""
    rankings: dict[tuple[int, str], Ranking] = {}
    for row, output, values, float64 in _class_scores(result, golden):
        scores = (float64, golden.float32(output, (row,))[0], values)
        if (row, output) not in rankings and all(np.isfinite(given).all() for given in scores):
            name = golden.inputs.names[row]
            rankings[row, output] = Ranking(name, output, *(_highest(given) for given in scores))
    return tuple(rankings.values())


def equal_classes(result: RunResult, golden: GoldenOutputs, rows: frozenset[int]) -> float | None:
    """Return the fraction of class scores, one for each row and output, whose highest class is that of float64."""
    equal: dict[tuple[int, str], bool] = {}
    for row, output, values, float64 in _class_scores(result, golden):
        if row in rows:
            same = bool(np.isfinite(values).all()) and top_k(values, 1) == top_k(float64, 1)
            equal.setdefault((row, output), bool(same))
    return sum(equal.values()) / len(equal) if equal else None


def _class_scores(result: RunResult, golden: GoldenOutputs) -> Iterator[tuple[int, str, Scores, Scores]]:
    """Yield (row, output, the artifact's scores, those of float64), (classes,) each, of every item of every batch."""
    for batch, outputs in result.batches:
        for output, values in outputs.items():
            if output in golden.source.features or not is_ranking(values) or is_discrete(values):
                continue
            float64 = golden.float64(output, batch.rows)
            if float64.shape == values.shape:
                for item, row in enumerate(batch.rows):
                    yield row, output, values[item], float64[item]


def _highest(scores: Scores) -> tuple[tuple[int, float], ...]:
    return tuple((int(index), float(scores[index])) for index in top_k(scores, TOP_K))
