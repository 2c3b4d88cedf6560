"""Repeats, batch positions and thread counts, with engines that are deterministic and engines that are not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.engines.base import Runtime, RuntimeOptions
from exporter.parity.determinism import check_determinism
from exporter.parity.execution import RunSpec
from exporter.parity.input_set import InputSet
from exporter.parity.io_mapping import IOMapping
from exporter.results import Placement, Precision
from models.specs import Signature, TensorSpec

Array = NDArray[Any]
INPUTS = InputSet.of_rows({"x": np.arange(8, dtype=np.float32).reshape(4, 2)}, ("a", "b", "c", "d"))


@dataclass
class Engine:
    """Returns a function of (rows, number of the call, settings)."""

    function: Callable[[Array, int, RuntimeOptions], Array]
    settings: RuntimeOptions
    batch: int | str = "n"
    width: int | str | None = None
    calls: list[Array] = field(default_factory=list[Array])
    description: str = "an engine"
    precision: Precision = "float32"
    placement: Placement = field(default_factory=lambda: Placement("cpu", 1))

    @property
    def signature(self) -> Signature:
        first = self.batch if self.width is None else self.width
        return Signature((TensorSpec("x", "float32", (self.batch, 2)),), (TensorSpec("y", "float32", (first, 2)),))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to release."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.calls.append(feeds["x"])
        return {"y": self.function(feeds["x"], len(self.calls), self.settings)}


def check(function: Callable[[Array, int, RuntimeOptions], Array], **options: Any) -> dict[str, tuple[bool, float]]:
    def map_io(found: Signature) -> IOMapping:
        return IOMapping({"x": found.inputs[0]}, {"y": "y"})

    device = options.pop("device", "cpu")

    def open_engine(settings: RuntimeOptions) -> Runtime:
        return cast("Runtime", Engine(function, settings, **options))

    spec = RunSpec(Path("m"), open_engine, RuntimeOptions(device), map_io)
    return {row.condition: (row.identical, row.max_abs_diff) for row in check_determinism(spec, INPUTS)}


REPEATS, POSITIONS = "3 runs on the same input", "at each position of a batch of 3, compared with the first"
OWN_BATCH, THREADS = "in a batch of 3 and on its own", "on 1 and on 2 threads"


def test_a_deterministic_engine() -> None:
    assert check(lambda x, _n, _s: x * 2) == dict.fromkeys((REPEATS, POSITIONS, OWN_BATCH, THREADS), (True, 0.0))


def test_an_engine_whose_repeats_differ() -> None:
    found = check(lambda x, n, _s: x + n)
    assert found[REPEATS] == (False, 2.0)


def test_an_engine_that_depends_on_the_batch_position() -> None:
    found = check(lambda x, _n, _s: x + np.arange(len(x), dtype=np.float32)[:, None] / 4)
    assert found == {REPEATS: (True, 0.0), POSITIONS: (False, 0.5), OWN_BATCH: (False, 0.5), THREADS: (True, 0.0)}


def test_an_engine_that_depends_on_the_batch_size() -> None:
    found = check(lambda x, _n, _s: x + len(x))
    assert found == {REPEATS: (True, 0.0), POSITIONS: (True, 0.0), OWN_BATCH: (False, 2.0), THREADS: (True, 0.0)}


def test_an_engine_that_depends_on_the_threads() -> None:
    found = check(lambda x, _n, s: x * (s.threads or 1))
    assert found[THREADS] == (False, 1.0)
    assert THREADS not in check(lambda x, _n, _s: x, device="cuda")


def test_bits_are_compared_not_values() -> None:
    zero = check(lambda x, n, _s: x * 0 * (-1) ** n)
    assert zero[REPEATS] == (False, 0.0)  # 0 and -0 are equal, and other bits
    assert check(lambda x, _n, _s: x * np.float32(np.nan))[REPEATS] == (True, 0.0)


@pytest.mark.parametrize(
    ("options", "conditions"),
    [
        ({"batch": 1}, {REPEATS, THREADS}),
        ({"batch": 2}, {REPEATS, THREADS, "at each position of a batch of 2, compared with the first"}),
        ({"width": 1}, {REPEATS, THREADS}),  # outputs without a batch axis have no positions
    ],
)
def test_positions_need_a_batch_axis(options: dict[str, int], conditions: set[str]) -> None:
    assert {*check(lambda x, _n, _s: x, **options)} == conditions
