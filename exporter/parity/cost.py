"""What a verification against a model file takes in memory and time, estimated before anything is computed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from onnx import helper

from exporter.engines.reference.cost import GraphCost, estimate_graph
from exporter.engines.reference.kernels.convolution import conv
from exporter.engines.reference.node import make_node
from exporter.engines.reference.single_node import in_onnxruntime
from exporter.errors import LimitError
from exporter.parity.input_set import BATCH_SIZES, InputSet
from models.text import format_memory

MIN_MEASURED = 20 * 10**9
"""Multiply-adds from which on the machine's rates are measured; below, a verification takes seconds."""
RUNS = 2
ENGINE_FACTOR = 1.25
"""What an engine takes beside the values that are alive, in parts of them."""

LARGE_SECONDS, LARGE_BYTES = 10, 2 * 10**9


class Rates(NamedTuple):
    """What the machine does in a second: multiply-adds here in float64, in onnxruntime in float32; bytes of a sum."""

    float64: float
    float32: float
    bandwidth: float


DEFAULT_RATES = Rates(1e10, 1e10, 2e9)
"""What is assumed below `MIN_MEASURED`."""


@dataclass(frozen=True)
class VerificationCost:
    """An estimate.

    Attributes:
        peak_bytes: resident memory of the process at its largest.
        seconds: wall time of the runs, with the machine's rates of this moment.
        complete: whether the shapes of all values are known; if not, both are lower bounds.
        initial_bytes: the part of `peak_bytes` that the process holds before it starts.
        multiply_adds: of the largest batch.
    """

    peak_bytes: int
    seconds: float
    complete: bool
    initial_bytes: int = 0
    multiply_adds: int = 0

    @property
    def is_large(self) -> bool:
        """Whether a user may want to know before it starts."""
        return self.seconds > LARGE_SECONDS or self.peak_bytes - self.initial_bytes > LARGE_BYTES

    def __str__(self) -> str:
        """Return `about 40 s and 3.1 GB of memory`."""
        span = f"{self.seconds:.0f} s" if self.seconds < 600 else f"{self.seconds / 60:.0f} minutes"
        held = f" ({format_memory(self.initial_bytes)} of it held already)" if self.initial_bytes else ""
        return f"{'about' if self.complete else 'at least'} {span} and {format_memory(self.peak_bytes)} of memory{held}"


def estimate_verification(
    path: Path, inputs: InputSet, batch: int | None, *, localize: bool = False
) -> VerificationCost:
    """Estimate comparing an artifact with a model file.

    The artifact is taken for as large as the file. Rows are evaluated one at a time in float64 and in float32; then the
    artifact runs on all of them, and on batches of several where its batch is free.

    Args:
        path: the ONNX file that is the reference.
        inputs: the inputs.
        batch: the file's fixed batch size; None where it is dynamic.
        localize: whether all layers of one row are compared too.
    """
    row = inputs.select(inputs.fill(0, batch))
    cost = estimate_graph(
        path, {name: np.shape(values) for name, values in row.items() if name not in inputs.sequences}
    )
    rows, largest = len(inputs.names), 1
    items = rows
    if batch is None and inputs.batched:
        largest = max(*BATCH_SIZES, inputs.batch or 0)
        items += sum(BATCH_SIZES) + (inputs.batch or 0)
    held = psutil.Process().memory_info().rss
    return VerificationCost(
        held + _peak_bytes(cost, rows, items, largest, localize=localize),
        _seconds(cost, rows, items),
        cost.complete,
        held,
        cost.multiply_adds * largest,
    )


def require_memory(cost: VerificationCost, limit: int | None, *, localize: bool = False) -> None:
    """Refuse a verification that needs more memory than allowed, before it starts.

    Raises:
        LimitError: it needs more than `limit` bytes.
    """
    if limit is not None and cost.peak_bytes > limit:
        without = ", and so does a run without --localize" if localize else ""
        raise LimitError(
            f"the verification takes {cost}, more than --max-memory ({format_memory(limit)}); smaller sizes (--shape) "
            f"take less{without}"
        )


def _peak_bytes(cost: GraphCost, rows: int, items: int, largest: int, *, localize: bool) -> int:
    """Return the largest of: the artifact's run, the float32 baseline's, the float64 reference's, all layers."""
    kept = cost.output_bytes * (rows + rows // 2 + items // 2)  # outputs in float64, float32, and the artifact's
    engine = cost.weight_bytes + ENGINE_FACTOR * cost.live_bytes / 2 * largest
    float64 = cost.weight_bytes + cost.peak_bytes
    layers = 2 * cost.layer_bytes + cost.peak_bytes if localize else 0  # in float64, and twice in float32
    return int(kept + max(engine, float64, layers))


def _seconds(cost: GraphCost, rows: int, items: int) -> float:
    rates = measure_rates() if cost.multiply_adds * (rows + items) >= MIN_MEASURED else DEFAULT_RATES
    moving = cost.moved_bytes / rates.bandwidth
    float64 = cost.multiply_adds / rates.float64 + moving
    float32 = cost.multiply_adds / rates.float32 + moving / 2
    return float64 * rows + float32 * (rows + items)


@cache
def measure_rates() -> Rates:
    """Measure a convolution of 0.45 G multiply-adds and a sum on this machine, as busy as it is now."""
    node = make_node(helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 6), {"": 17})
    x, w = np.ones((1, 32, 4, 64, 64)), np.ones((32, 32, 3, 3, 3))
    narrow = x.astype(np.float32), w.astype(np.float32)
    engine = in_onnxruntime(node, "float32")
    values = np.ones(1 << 23)  # too large for the allocator to keep: each sum pays for new pages
    work = w.size * x[0, 0].size
    return Rates(
        work / _mean_seconds(lambda: conv(node, x, w)),
        work / _mean_seconds(lambda: engine(narrow)),
        3 * values.nbytes / _mean_seconds(lambda: values + values),
    )


def _mean_seconds(action: Callable[[], object]) -> float:
    """Return the mean duration of some runs, after one that is not counted: other processes count too."""
    action()
    start = time.perf_counter()
    for _ in range(RUNS):
        action()
    return max((time.perf_counter() - start) / RUNS, 1e-9)
