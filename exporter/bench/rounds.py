"""Interleaved rounds: targets are loaded in processes of their own, then called one at a time in a random order.

Two never compute at the same time, and whatever slows the machine down for seconds or minutes hits all of them alike.
"""

import random
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from exporter.bench.inputs import Feeds
from exporter.bench.targets import BenchTarget
from exporter.bench.types import Loading
from exporter.bench.worker_client import Worker, WorkerError, engine_file

COOLDOWN_S = 0.02
"""Seconds of quiet before each turn: thread pools spin a little after their last call."""
MIN_ROUND_S = 0.05
"""Seconds of a turn, so that models of less than that are called several times in it."""
MIN_ROUNDS = 3
MAX_LOAD_S = 10.0
"""Seconds after which a target is not loaded once more only to time it."""

Failed = Callable[[BenchTarget, WorkerError], None]
"""Told of a target that could not go on; raises where the benchmark cannot either."""


@dataclass
class TargetState:
    """A target with its process: what has been seen of it so far."""

    target: BenchTarget
    worker: Worker
    title: str
    base: int | None
    loads: list[float] = field(default_factory=list[float])
    first_outputs: list[float] = field(default_factory=list[float])
    outputs: list[list[float]] = field(default_factory=list[list[float]])
    peak: int | None = None
    turns: list[list[float]] = field(default_factory=list[list[float]])

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
        feeds: what they are given.
        threads: of the engines.
        first_batch: the batch size they are loaded for.
        seed: of inputs and order.
        warmup: calls that do not count.
    """

    feeds: Feeds
    threads: int
    first_batch: int
    seed: int
    warmup: int


def open_worker(target: BenchTarget, threads: int) -> Worker:
    """Return a target's process, not started yet."""
    return Worker(engine_file(target.engine), target.interpreter, {**thread_variables(threads), **target.environment})


def thread_variables(threads: int) -> dict[str, str]:
    """Return the variables by which matrix libraries take their thread count."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))


def start(stack: ExitStack, target: BenchTarget, config: RunConfig) -> TargetState:
    """Start a target's process and load it; the process ends with `stack`.

    Raises:
        WorkerError: it cannot.
    """
    worker = stack.enter_context(open_worker(target, config.threads))
    imported = worker.ask("import")
    state = TargetState(target, worker, imported["title"], imported["peak"])
    _load(state, config)
    return state


def load_again(target: BenchTarget, state: TargetState, config: RunConfig) -> None:
    """Load a target in one more process, only to time it.

    Raises:
        WorkerError: it cannot.
    """
    with open_worker(target, config.threads) as worker:
        worker.ask("import")
        _load(state, config, worker)


def feed(state: TargetState, config: RunConfig, batch: int) -> None:
    """Give a target its inputs of one batch size, and let it warm up.

    Raises:
        WorkerError: it fails on them.
    """
    fed = state.worker.ask("feed", **_feed(state.target, config, batch), warmup=config.warmup)
    state.outputs, state.peak, state.turns = fed["outputs"], fed["peak"], []


def run_rounds(
    states: list[TargetState],
    rounds: int,
    seconds: float,
    shuffle: random.Random,
    failed: Failed,
    tell: Callable[[int], None],
) -> None:
    """Run every target once in each round; one that fails leaves the list.

    Args:
        states: the targets; each one's `turns` grow by its calls' seconds.
        rounds: how many, at most.
        seconds: no round begins after these, once `FEWEST_ROUNDS` are done.
        shuffle: decides the order of each round.
        failed: called with each one that fails.
        tell: called with each round's number.
    """
    start = time.monotonic()
    for number in range(rounds):
        if number >= MIN_ROUNDS and time.monotonic() - start > seconds:
            return
        tell(number + 1)
        for state in shuffled(states, shuffle):
            time.sleep(COOLDOWN_S)
            with drop_on_error(states, state, failed):
                answer = state.worker.ask("run", least=MIN_ROUND_S)
                state.turns.append(answer["seconds"])
                state.peak = answer["peak"]


def shuffled(states: Sequence[TargetState], shuffle: random.Random) -> list[TargetState]:
    """Return the entries in another order."""
    return shuffle.sample(states, len(states))


@contextmanager
def drop_on_error(states: list[TargetState], state: TargetState, failed: Failed) -> Generator[None]:
    """Take a target that fails in the block off the list, and report it."""
    try:
        yield
    except WorkerError as error:
        states.remove(state)
        failed(state.target, error)


def _load(state: TargetState, config: RunConfig, worker: Worker | None = None) -> None:
    """Load and call once, in the target's own process or in another, and note both times."""
    worker = worker or state.worker
    sizes = config.feeds.messages(config.first_batch, state.target.job["inputs"])
    shapes = {value["name"]: value["shape"] for value in sizes}
    job = {**state.target.job, "threads": config.threads, "shapes": shapes}
    loaded = worker.ask("load", job=job)["seconds"]
    called = worker.ask("feed", **_feed(state.target, config, config.first_batch), warmup=0)["seconds"]
    state.loads.append(loaded)
    state.first_outputs.append(loaded + called)


def _feed(target: BenchTarget, config: RunConfig, batch: int) -> dict[str, Any]:
    return {"inputs": config.feeds.messages(batch, target.job["inputs"]), "seed": config.seed}
