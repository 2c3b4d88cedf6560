"""Wall-clock time: of a phase, and of several functions side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
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
        cooldown_s: seconds before each run, in which the thread pool of the run before it stops spinning.
    """

    min_rounds: int = 5
    max_rounds: int = 15
    budget_s: float = 1.5
    warm_up: int = 0
    cooldown_s: float = 0.03


def time_interleaved(
    functions: Mapping[str, Callable[[], object]],
    options: RoundOptions | None = None,
    progress: Progress = no_progress,
) -> dict[str, list[float]]:
    """Return {name: seconds of each run}, one run per round.

    Every round runs all functions, in an order that rotates from round to round, so that a busy neighbour or a change
    of the clock rate affects all of them alike, and none always runs after the same one.

    Args:
        functions: what to run.
        options: how often; None for the defaults.
        progress: called at each round.
    """
    options = options or RoundOptions()
    names = list(functions)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    spent = 0.0
    for number in range(options.warm_up + options.max_rounds if names else 0):
        if number >= options.warm_up + options.min_rounds and spent > options.budget_s:
            break
        progress(f"measuring {', '.join(names)}: round {number + 1}")
        first = number % len(names)
        for name in names[first:] + names[:first]:
            sleep(options.cooldown_s)
            start = perf_counter()
            functions[name]()
            taken = perf_counter() - start
            spent += taken
            if number >= options.warm_up:
                seconds[name].append(taken)
    return seconds
