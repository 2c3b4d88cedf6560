"""Wall-clock time: of a phase, and of several functions side by side."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf
from time import perf_counter, sleep
from typing import TypeVar

from models.progress import Progress, no_progress

T = TypeVar("T")


@contextlib.contextmanager
def timed(seconds: dict[str, float], phase: str) -> Generator[None]:
    """Add the seconds that the block takes to `seconds[phase]`."""
    start = perf_counter()
    yield
    seconds[phase] = seconds.get(phase, 0.0) + perf_counter() - start


def timed_iterator(seconds: dict[str, float], phase: str, items: Iterator[T]) -> Iterator[T]:
    """Yield the items, and add the seconds that each takes to arrive to `seconds[phase]`."""
    while True:
        with timed(seconds, phase):
            arrived = list(islice(items, 1))
        if not arrived:
            return
        yield arrived[0]


@dataclass(frozen=True)
class RoundOptions:
    """How often functions are run.

    Attributes:
        min_rounds: rounds that are run in any case.
        max_rounds: rounds at most.
        budget_s: seconds of measured time after which no round beyond `min_rounds` starts.
        warm_up: rounds before these, which do not count.
        hopeless: a function whose least time of two runs is more than this many times the least of all is run no more.
        cooldown_s: seconds before each run, in which the thread pool of the run before it stops spinning.
        seed: decides the order in each round.
    """

    min_rounds: int = 5
    max_rounds: int = 15
    budget_s: float = 1.5
    warm_up: int = 0
    hopeless: float = inf
    cooldown_s: float = 0.03
    seed: int = 0


def interleave(items: Sequence[T], options: RoundOptions, progress: Progress = no_progress) -> Iterator[tuple[int, T]]:
    """Yield (round, item): every item once in each round, in a random order.

    A busy neighbour or a change of the clock rate then affects all of them alike, and none always runs after the same
    one. The time until the next value is requested counts as measured.

    Args:
        items: what is measured; one that the caller removes leaves the later rounds.
        options: how often.
        progress: called at each round.
    """
    order = random.Random(options.seed)  # noqa: S311 - an order is no secret
    spent = 0.0
    for number in range(options.warm_up + options.max_rounds if items else 0):
        if number >= options.warm_up + options.min_rounds and spent > options.budget_s:
            return
        progress(f"round {number + 1} of {options.warm_up + options.max_rounds}")
        for item in order.sample(items, len(items)):
            sleep(options.cooldown_s)
            start = perf_counter()
            yield number, item
            spent += perf_counter() - start


def time_interleaved(
    functions: Mapping[str, Callable[[], object]],
    options: RoundOptions | None = None,
    progress: Progress = no_progress,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, list[float]]:
    """Return {name: seconds of each run}, one run per round, interleaved.

    Args:
        functions: what to run.
        options: how often; None for the defaults.
        progress: called at each round.
        clock: what measures a run; for the processor time of functions with one thread, `time.thread_time`.
    """
    options = options or RoundOptions()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    described = f"measuring {', '.join(functions)}"
    left = list(functions)
    for number, name in interleave(left, options, lambda text: progress(f"{described}: {text}")):
        start = clock()
        functions[name]()
        if number >= options.warm_up:
            seconds[name].append(clock() - start)
            if _is_hopeless(name, seconds, options.hopeless):
                left.remove(name)
    return seconds


def _is_hopeless(name: str, seconds: Mapping[str, Sequence[float]], limit: float) -> bool:
    """Return whether a function was too slow, in each of two runs or more, ever to be the fastest."""
    measured = [min(times) for times in seconds.values() if times]
    return len(seconds[name]) > 1 and min(seconds[name]) > limit * min(measured)
