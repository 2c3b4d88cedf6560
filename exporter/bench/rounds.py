"""Loading targets in processes of their own, and calling them in interleaved rounds.

Two never compute at the same time, and whatever slows the machine down for seconds or minutes hits all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.bench.inputs import Feeds
from exporter.bench.targets import BenchTarget
from exporter.bench.types import Loading
from exporter.bench.worker_client import Worker, WorkerError, thread_variables
from exporter.timing import RoundOptions, interleave
from models.progress import Progress, no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_ROUND_S = 0.05
"""Seconds for which a target is called in each round, at least once."""
MAX_LOAD_S = 10.0
"""Seconds after which a target is not loaded once more only to time it."""

Failed = Callable[[BenchTarget, WorkerError], None]
"""Called with a target that cannot go on; raises where the benchmark cannot either."""


@dataclass
class TargetState:
    """A target with its process: what has been seen of it so far."""

    target: BenchTarget
    worker: Worker
    base: int | None
    engine: str = ""
    loads: list[float] = field(default_factory=list[float])
    first_outputs: list[float] = field(default_factory=list[float])
    outputs: list[list[float]] = field(default_factory=list[list[float]])
    peak: int | None = None
    rounds: list[list[float]] = field(default_factory=list[list[float]])

    @property
    def memory(self) -> int | None:
        """The peak beyond what importing the engine took, bytes."""
        return None if self.peak is None or self.base is None else self.peak - self.base

    def loading(self, threads: int) -> Loading:
        """Return what loading took."""
        return Loading(
            self.target.name,
            threads,
            tuple(self.loads),
            tuple(self.first_outputs),
            median(self.loads),
            median(self.first_outputs),
        )


@dataclass(frozen=True)
class RunConfig:
    """What is the same for every target at one thread count.

    Attributes:
        feeds: the inputs.
        threads: the number of threads of each engine.
        first_batch: the batch size they are loaded for.
        seed: decides the inputs and the order.
        warmup: calls that do not count.
    """

    feeds: Feeds
    threads: int
    first_batch: int
    seed: int
    warmup: int


def open_worker(target: BenchTarget, threads: int) -> Worker:
    """Return a target's process, not started yet."""
    return Worker(target.interpreter, {**thread_variables(threads), **target.environment})


def start(stack: ExitStack, target: BenchTarget, config: RunConfig) -> TargetState:
    """Start a target's process and load it; the process ends with `stack`.

    Raises:
        WorkerError: it cannot.
    """
    worker = stack.enter_context(open_worker(target, config.threads))
    state = TargetState(target, worker, _import(worker, target))
    _load(state, config)
    return state


def load_again(target: BenchTarget, state: TargetState, config: RunConfig) -> None:
    """Load a target in one more process, only to time it.

    Raises:
        WorkerError: it cannot.
    """
    with open_worker(target, config.threads) as worker:
        _import(worker, target)
        _load(state, config, worker)


def feed(state: TargetState, config: RunConfig, batch: int) -> None:
    """Give a target its inputs of one batch size, and let it warm up.

    Raises:
        WorkerError: it fails on them.
    """
    fed = state.worker.ask("feed", **_feed(state.target, config, batch), warmup=config.warmup)
    state.outputs, state.peak, state.rounds = fed["outputs"], fed["peak"], []


def run_rows(state: TargetState, config: RunConfig, rows: int, path: Path) -> dict[str, NDArray[np.float64]]:
    """Run every row of the inputs' files by itself, and return {output: (rows, …)}.

    Args:
        state: a target that has its inputs.
        config: its inputs are files; a row fills the first batch size, repeated.
        rows: the number of rows.
        path: a file that the outputs pass through, and that stays.

    Raises:
        WorkerError: it fails on them.
    """
    reply = state.worker.ask("rows", **_feed(state.target, config, config.first_batch), rows=rows, file=str(path))
    state.peak = reply["peak"]
    with np.load(path, allow_pickle=False) as arrays:
        return dict(zip(reply["names"], (arrays[f"arr_{index}"] for index in range(len(reply["names"]))), strict=True))


def run_rounds(
    states: list[TargetState], options: RoundOptions, failed: Failed, progress: Progress = no_progress
) -> None:
    """Run every target once in each round, interleaved; one that fails leaves the list.

    Args:
        states: the targets; each one's `rounds` grow by its calls' seconds.
        options: how often.
        failed: called with each one that fails.
        progress: called at each round.
    """
    for _, state in interleave(states, options, progress):
        with drop_on_error(states, state, failed):
            reply = state.worker.ask("run", least=MIN_ROUND_S)
            state.rounds.append(reply["seconds"])
            state.peak = reply["peak"]


@contextmanager
def drop_on_error(states: list[TargetState], state: TargetState, failed: Failed) -> Generator[None]:
    """Take a target that fails in the block off the list, and report it."""
    try:
        yield
    except WorkerError as error:
        states.remove(state)
        failed(state.target, error)


def _import(worker: Worker, target: BenchTarget) -> int | None:
    """Import the engine's library; return the process's peak memory after it, in bytes."""
    engine = target.engine
    try:
        return worker.ask("import", library=engine.library, runtime=engine.runtime)["peak"]
    except WorkerError as error:
        if error.kind != "missing":
            raise
        reason = f"{engine.display_name} cannot be imported ({error}); {engine.install}"
        raise WorkerError("missing", reason) from error


def _load(state: TargetState, config: RunConfig, worker: Worker | None = None) -> None:
    """Load and call once, in the target's own process or in another, and record both times."""
    worker = worker or state.worker
    target, batch = state.target, config.first_batch
    shapes = {value["name"]: value["shape"] for value in config.feeds.messages(batch, target.inputs)}
    loaded = worker.ask("load", **target.job(config.threads, shapes))
    called = worker.ask("feed", **_feed(target, config, batch), warmup=0)["seconds"]
    state.engine = loaded["engine"]
    state.loads.append(loaded["seconds"])
    state.first_outputs.append(loaded["seconds"] + called)


def _feed(target: BenchTarget, config: RunConfig, batch: int) -> dict[str, Any]:
    inputs = config.feeds.messages(batch, target.inputs)
    return {"inputs": inputs, "seed": config.seed, "outputs": target.outputs}
