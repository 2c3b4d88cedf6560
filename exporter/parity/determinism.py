"""Does an engine give the same bits again? Told, not judged: no engine promises it across batch sizes or threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.parity.execution import RunSpec, make_feeds
from exporter.parity.inputs import InputSet
from exporter.results import Determinism
from models.progress import Progress, no_progress
from models.specs import Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Answers = dict[str, NDArray[Any]]

REPEATS = 3
POSITIONS = 3
THREADS = 2


def determinism(trial: RunSpec, pool: InputSet, row: int, progress: Progress = no_progress) -> tuple[Determinism, ...]:
    """Run one row repeatedly, at every position of a batch, and on one and two threads.

    Args:
        trial: the model and its engine.
        pool: the inputs.
        row: which of them; its neighbours fill the batch.
        progress: told at each step.
    """
    reported: list[Determinism] = []
    progress(f"determinism of {trial.path.name}: repeats")
    with trial.open(trial.settings) as runtime:
        ports, batch = trial.match(runtime.signature), runtime.signature.batch
        alone = (row,) * (batch or 1)
        first = runtime.run(make_feeds(ports, pool, alone))
        again = [runtime.run(make_feeds(ports, pool, alone)) for _ in range(REPEATS - 1)]
        reported.append(_compared(f"{REPEATS} runs on the same input", first, again))
        size = POSITIONS if batch is None else batch
        if size > 1 and _has_rows(runtime.signature):
            progress(f"determinism of {trial.path.name}: batch positions")
            others = [(row + place) % len(pool.names) for place in range(1, size)]
            placed: list[Answers] = []
            for place in range(size):
                rows = (*others[:place], row, *others[place:])
                answers = runtime.run(make_feeds(ports, pool, rows))
                placed.append({name: values[place : place + 1] for name, values in answers.items()})
            reported.append(
                _compared(f"at each position of a batch of {size}, the first as measure", placed[0], placed[1:])
            )
            if batch is None:
                reported.append(_compared(f"in a batch of {size} and alone", first, placed))
    if trial.settings.device == "cpu":
        progress(f"determinism of {trial.path.name}: threads")
        by_threads: list[Answers] = []
        for count in range(1, THREADS + 1):
            with trial.open(replace(trial.settings, threads=count)) as runtime:
                by_threads.append(runtime.run(make_feeds(ports, pool, alone)))
        reported.append(_compared(f"on 1 and on {THREADS} threads", by_threads[0], by_threads[1:]))
    return tuple(reported)


def _has_rows(signature: Signature) -> bool:
    """Tell whether every output has the batch as its first axis."""
    sizes = [output.shape[0] for output in signature.outputs if output.shape]
    return len(sizes) == len(signature.outputs) and all(isinstance(size, str) or size > 1 for size in sizes)


def _compared(condition: str, first: Answers, others: Sequence[Answers]) -> Determinism:
    same, largest = True, 0.0
    for other in others:
        for name, values in other.items():
            wanted = first[name]
            same = same and wanted.shape == values.shape and wanted.tobytes() == values.tobytes()
            with np.errstate(invalid="ignore"):
                apart = np.abs(wanted.astype(np.float64) - values.astype(np.float64))
            largest = max(largest, float(np.nan_to_num(apart, nan=0).max(initial=0)))
    return Determinism(condition, len(others), same, largest)
