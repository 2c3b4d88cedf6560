"""What the rounding of stored weights does to an artifact's outputs: the artifact runs again with them moved.

A weight that is stored in fewer bits than it is computed with was rounded by at most half a unit in the last place of
its stored type: an error evenly spread over a unit, whose root mean square is a unit divided by the square root of 12.
So copies of the artifact whose weights are moved by a whole unit, up or down at random, show how large an error that
rounding makes in each output, whatever the network is. In every second copy equal numbers of a weight move the same
way: numbers that were equal before they were rounded have the same error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.engines.base import Runtime, RuntimeOptions
from exporter.parity.input_set import Arrays, InputBatch
from exporter.results import Precision
from exporter.temporary_folders import temporary_folder
from models.progress import Progress

FEW_RUNS, MORE_RUNS, MANY_RUNS = 8, 16, 32
"""Copies that run: `MANY_RUNS` of an artifact with fewer than `FEW_WEIGHTS` stored numbers, whose errors are no sum of
many small ones; otherwise `MORE_RUNS` where an item of an output has fewer than `FEW_NUMBERS`, all of which may change
little by chance."""
FEW_WEIGHTS, FEW_NUMBERS = 1_000_000, 32
UNIT = float(np.sqrt(12))
"""A move by a unit in the last place, in root mean squares of the rounding to such units."""
TABLE_BYTES = 2
"""The largest type of whose numbers a table says which way each moves."""
MAX_BITS: Mapping[str, int] = {"float16": 0x7BFF, "bfloat16": 0x7F7F}
"""The bits of the largest finite number."""

RunBatch = Callable[[Runtime, InputBatch], Arrays]
"""From an opened copy and a batch to its outputs, by the names and in the form that parity compares."""
RoundingErrors = Mapping[tuple[int, str], float]
"""{(row, output): the root mean square of the error that rounding the stored weights makes, of the number of the output
where it is largest}."""


@dataclass(frozen=True)
class StoredWeights:
    """The weights of an artifact that it stores in fewer bits than it computes with, and its reference does not hold.

    Attributes:
        precision: the lowest that one is stored in.
        write: writes a copy of a model file with changed weights into a folder, and returns its path.
        open: returns a runtime for that.
    """

    precision: Precision
    write: Callable[[Path, Callable[[NDArray[Any]], NDArray[Any]], Path], Path]
    open: Callable[[Path, RuntimeOptions], Runtime]


def measure_rounding(
    path: Path,
    stored: StoredWeights,
    settings: RuntimeOptions,
    results: Sequence[tuple[InputBatch, Arrays]],
    run: RunBatch,
    progress: Progress,
) -> RoundingErrors:
    """Return the errors that rounding the stored weights makes in the outputs of each row, by running moved copies.

    Args:
        path: the artifact.
        stored: its weights.
        settings: how the artifact was opened.
        results: the batches with the artifact's own outputs.
        run: runs a batch.
        progress: called for every copy.

    Raises:
        ArtifactError: the engine refuses a copy.
        CheckFailedError: a copy fails on a batch.
    """
    batches = _cover_rows(results)
    squares: dict[tuple[int, str, bool], NDArray[np.float64]] = {}
    number, runs = 0, FEW_RUNS
    with temporary_folder() as folder:
        while number < runs:
            progress(f"running with weights moved by a unit in the last place ({number + 1} of {runs})")
            mover = _Mover(np.random.default_rng(number), number % 2 == 1)
            copy = stored.write(path, mover, folder)
            runs = _number_of_runs(mover.count, batches)
            with stored.open(copy, replace(settings, states=())) as runtime:
                for batch, outputs in batches:
                    moved = run(runtime, batch)
                    for name, values in outputs.items():
                        if name in moved and moved[name].shape == values.shape and values.dtype.kind == "f":
                            for item, row in enumerate(batch.rows):
                                found = squares.setdefault((row, name, mover.equally), np.zeros(values[item].shape))
                                found += _squares(values[item], moved[name][item])
            number += 1
    errors: dict[tuple[int, str], float] = {}
    for (row, name, _), found in squares.items():
        error = float(np.sqrt(found.max(initial=0) / (runs / 2)) / UNIT)
        errors[row, name] = max(error, errors.get((row, name), 0.0))
    return errors


@dataclass
class _Mover:
    """Moves one weight after the other (`move`), and counts their numbers."""

    rng: np.random.Generator
    equally: bool
    count: int = 0

    def __call__(self, weight: NDArray[Any]) -> NDArray[Any]:
        self.count += weight.size
        return move(weight, self.rng, equally=self.equally)


def _cover_rows(results: Sequence[tuple[InputBatch, Arrays]]) -> list[tuple[InputBatch, Arrays]]:
    """Return the batches that hold every row, each as early as it occurs: rows that run by themselves come first."""
    known: set[int] = set()
    found: list[tuple[InputBatch, Arrays]] = []
    for batch, outputs in results:
        if not known.issuperset(batch.rows):
            found.append((batch, outputs))
            known.update(batch.rows)
    return found


def _number_of_runs(weights: int, batches: Sequence[tuple[InputBatch, Arrays]]) -> int:
    if weights < FEW_WEIGHTS:
        return MANY_RUNS
    widths = [values[0].size for _, outputs in batches for values in outputs.values() if len(values)]
    return MORE_RUNS if min(widths, default=0) < FEW_NUMBERS else FEW_RUNS


def move(weight: NDArray[Any], rng: np.random.Generator, *, equally: bool = False) -> NDArray[Any]:
    """Return a weight with every number moved by one unit in the last place, up or down at random.

    Zeros of floating-point types stay, and so does what would become infinite. So does a slice of equal integers along
    the first or last axis: a channel of zeros was not rounded, whatever its scale is. In a slice of one number, that is
    the largest of the type, from which its scale was made.

    Args:
        weight: float16, bfloat16, or an integer type.
        rng: decides.
        equally: equal numbers move the same way.
    """
    bits: NDArray[Any] = weight.view(f"u{weight.dtype.itemsize}")
    equally = equally and bits.itemsize <= TABLE_BYTES
    up = rng.integers(0, 2, 1 << 8 * bits.itemsize, bool)[bits] if equally else rng.integers(0, 2, bits.shape, bool)
    if weight.dtype.kind in "iu":
        limits = np.iinfo(weight.dtype)
        up = (up | (weight == limits.min)) & (weight != limits.max)
        moved = np.where(up, weight + weight.dtype.type(1), weight - weight.dtype.type(1))
        for axis in {0, weight.ndim - 1} if weight.ndim > 1 else ():
            others = tuple({*range(weight.ndim)} - {axis})
            equal = weight.max(others, keepdims=True) == weight.min(others, keepdims=True)
            if weight.size == weight.shape[axis]:  # slices of one number
                equal = (weight == limits.max) | (weight <= limits.min + 1)
            moved = np.where(equal, weight, moved)
        return moved
    magnitude, largest = bits & 0x7FFF, MAX_BITS[weight.dtype.name]
    step = np.where(up & (magnitude < largest), np.uint16(1), np.uint16(0xFFFF))  # -1
    step[(magnitude == 0) | (magnitude > largest)] = 0
    return (bits + step).view(weight.dtype)


def _squares(values: NDArray[Any], moved: NDArray[Any]) -> NDArray[np.float64]:
    """Return the squared changes, 0 where one is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        change = moved.astype(np.float64) - values.astype(np.float64)
    return np.where(np.isfinite(change), np.square(change), 0)
