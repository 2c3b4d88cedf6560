"""Whether an engine returns the same bits again. Reported only: no engine promises it across batches or threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from exporter.parity.execution import RunSpec, make_feeds
from exporter.parity.input_set import Arrays, InputSet
from exporter.results import Determinism
from models.progress import Progress, no_progress
from models.specs import Signature

REPEATS = 3
POSITIONS = 3
MAX_THREADS = 2


def check_determinism(spec: RunSpec, inputs: InputSet, progress: Progress = no_progress) -> tuple[Determinism, ...]:
    """Run the first regular input repeatedly, at every position of a batch, and on one and two threads.

    Args:
        spec: the model and its engine.
        inputs: the inputs; the rows after the first regular one fill the batch.
        progress: called at each step.
    """
    count = len(inputs.names)
    row = next((row for row in range(count) if inputs.regular((row,))), 0)
    results: list[Determinism] = []
    progress(f"determinism of {spec.path.name}: repeats")
    with spec.open(spec.settings) as runtime:
        mapping, batch = spec.map_io(runtime.signature), runtime.signature.batch
        single = inputs.fill(row, batch)
        first = runtime.run(make_feeds(mapping, inputs, single))
        again = [runtime.run(make_feeds(mapping, inputs, single)) for _ in range(REPEATS - 1)]
        results.append(_compare_bits(f"{REPEATS} runs on the same input", first, again))
        size = POSITIONS if batch is None else batch
        if size > 1 and inputs.batched and _has_batch_axis(runtime.signature):
            progress(f"determinism of {spec.path.name}: batch positions")
            alike = inputs.same_shape_rows(row)
            others = [alike[(alike.index(row) + offset) % len(alike)] for offset in range(1, size)]
            positions: list[Arrays] = []
            for index in range(size):
                rows = (*others[:index], row, *others[index:])
                outputs = runtime.run(make_feeds(mapping, inputs, rows))
                positions.append({name: values[index : index + 1] for name, values in outputs.items()})
            condition = f"at each position of a batch of {size}, compared with the first"
            results.append(_compare_bits(condition, positions[0], positions[1:]))
            if batch is None:
                results.append(_compare_bits(f"in a batch of {size} and on its own", first, positions))
    if spec.settings.device == "cpu":
        progress(f"determinism of {spec.path.name}: threads")
        by_threads: list[Arrays] = []
        for threads in range(1, MAX_THREADS + 1):
            with spec.open(replace(spec.settings, threads=threads)) as runtime:
                by_threads.append(runtime.run(make_feeds(mapping, inputs, single)))
        results.append(_compare_bits(f"on 1 and on {MAX_THREADS} threads", by_threads[0], by_threads[1:]))
    return tuple(results)


def _has_batch_axis(signature: Signature) -> bool:
    """Return whether the first axis of every output is the batch."""
    sizes = [output.shape[0] for output in signature.outputs if output.shape]
    return len(sizes) == len(signature.outputs) and all(isinstance(size, str) or size > 1 for size in sizes)


def _compare_bits(condition: str, first: Arrays, others: Sequence[Arrays]) -> Determinism:
    identical, largest = True, 0.0
    for other in others:
        for name, values in other.items():
            wanted = first[name]
            identical = identical and wanted.shape == values.shape and wanted.tobytes() == values.tobytes()
            with np.errstate(invalid="ignore"):
                difference = np.abs(wanted.astype(np.float64) - values.astype(np.float64))
            largest = max(largest, float(np.nan_to_num(difference, nan=0).max(initial=0)))
    return Determinism(condition, len(others), identical, largest)
