"""What reports show beside the comparisons: the highest classes, histograms of errors, frames of real clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.parity.compare import TOP_K, is_ranking, top_k
from exporter.parity.discrete import is_discrete
from exporter.parity.execution import RunResult
from exporter.parity.golden import GoldenOutputs
from exporter.parity.input_set import InputSet
from exporter.parity.row_tolerances import Tolerances
from exporter.parity.tolerance import Tolerance
from exporter.results import Comparison, ErrorHistogram, PreviewFrames, Ranking

BIN_EDGES = (0.0, *(float(10.0**power) for power in np.arange(-4, 2.25, 0.25)), float("inf"))
"""Four bins a decade, from a ten-thousandth of the budget to a hundred times the budget; 1 is an edge."""
FRAMES_PER_CLIP = 6
"""Frames of a clip, evenly spaced from the first to the last."""
MAX_CLIPS = 24
"""More clips would make a page of many megabytes."""


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


def _class_scores(result: RunResult, golden: GoldenOutputs) -> Iterator[tuple[int, str, NDArray[Any], NDArray[Any]]]:
    """Yield (row, output, the artifact's scores, those of float64), (classes,) each, of every item of every batch."""
    for batch, outputs in result.batches:
        for output, values in outputs.items():
            if output in golden.source.features or not is_ranking(values) or is_discrete(values):
                continue
            float64 = golden.float64(output, batch.rows)
            if float64.shape == values.shape:
                for item, row in enumerate(batch.rows):
                    yield row, output, values[item], float64[item]


def _highest(scores: NDArray[Any]) -> tuple[tuple[int, float], ...]:
    return tuple((int(index), float(scores[index])) for index in top_k(scores, TOP_K))


def error_histograms(result: RunResult, golden: GoldenOutputs, tolerances: Tolerances) -> tuple[ErrorHistogram, ...]:
    """Count the errors of every output number, one histogram for each output.

    A row in several batches counts each time, for the artifact and for the float32 baseline. An output of another shape
    than the reference's is left out, and so is a discrete one.

    Args:
        result: the artifact's outputs.
        golden: holds the reference of every row in `result`.
        tolerances: give each number its budget.
    """
    counters: dict[str, _Counter] = {}
    for batch, outputs in result.batches:
        for output, values in outputs.items():
            float64, float32 = golden.float64(output, batch.rows), golden.float32(output, batch.rows)
            if values.shape != float64.shape or is_discrete(float64):
                continue
            counter = counters.setdefault(output, _Counter())
            tolerance = tolerances.of(batch.rows, output)
            for item in range(len(float64)):
                arrays = (values[item].ravel(), float32[item].ravel(), float64[item].ravel())
                counter.add(*arrays, tolerance.item(item))
    return tuple(counter.to_histogram(output) for output, counter in counters.items())


class _Counter:
    """The counts of one output, summed over batch items."""

    def __init__(self) -> None:
        self.bins = np.zeros((2, len(BIN_EDGES) - 1), np.int64)  # the artifact's, the float32 baseline's
        self.exact = np.zeros(2, np.int64)
        self.nonfinite_mismatches = 0

    def add(self, values: NDArray[Any], float32: NDArray[Any], float64: NDArray[Any], tolerance: Tolerance) -> None:
        """Add one item, (width,) each."""
        finite = np.isfinite(float32) & np.isfinite(float64)
        same = (np.isfinite(values) == np.isfinite(float32)) & (np.isnan(values) == np.isnan(float32))
        self.nonfinite_mismatches += int((~same).sum())
        if not finite.any():
            return
        budgets = np.ones(float64.shape)
        budgets[finite] = tolerance.allowed(float32[finite].astype(np.float64), float64[finite])
        for index, (given, counted) in enumerate(((values, finite & np.isfinite(values)), (float32, finite))):
            wanted = float64[counted]
            with np.errstate(over="ignore"):  # float64 holds numbers that float32 rounds to infinity
                exact = given[counted].astype(np.float32) == wanted.astype(np.float32)
            self.exact[index] += int(exact.sum())
            errors = np.abs(given[counted].astype(np.float64) - wanted)[~exact]
            allowed = budgets[counted][~exact]
            ratios = np.divide(errors, allowed, out=np.full(errors.shape, np.inf), where=allowed > 0)
            # searchsorted, because np.histogram's bins hold their lower edge, and it takes no infinite ratio
            bins = np.clip(np.searchsorted(BIN_EDGES, ratios, side="left") - 1, 0, len(BIN_EDGES) - 2)
            self.bins[index] += np.bincount(bins, minlength=len(BIN_EDGES) - 1)

    def to_histogram(self, output: str) -> ErrorHistogram:
        """Return the sums."""
        artifact, float32 = (tuple(map(int, counts)) for counts in self.bins)
        return ErrorHistogram(
            output,
            BIN_EDGES,
            artifact,
            float32,
            artifact_exact=int(self.exact[0]),
            float32_exact=int(self.exact[1]),
            nonfinite_mismatches=self.nonfinite_mismatches,
        )


def preview_frames(inputs: InputSet, comparisons: Sequence[Comparison]) -> tuple[PreviewFrames, ...]:
    """Return frames of the real clips; of more than `MAX_CLIPS` clips, of those that use most of their budget."""
    used: dict[str, float] = {}
    for row in comparisons:
        used[row.input] = max(row.budget_used, used.get(row.input, 0.0))
    worst = sorted(inputs.frames, key=lambda row: -used.get(inputs.names[row], 0.0))[:MAX_CLIPS]
    previews: list[PreviewFrames] = []
    for row in sorted(worst):
        count, height, width = inputs.frames[row].shape[:3]
        indices = [round(i * (count - 1) / (FRAMES_PER_CLIP - 1)) for i in range(FRAMES_PER_CLIP)]
        frames = tuple(inputs.frames[row][index].tobytes() for index in indices)
        previews.append(PreviewFrames(inputs.names[row], width, height, frames, tuple(i + 1 for i in indices)))
    return tuple(previews)
