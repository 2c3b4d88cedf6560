"""Background load: how much of the processors other programs use."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from exporter.system import available_cpus

NOISE = 0.1
"""Background load, in cores, above which a note is printed."""
BUSY = 0.2
"""Background load, as a share of the cores that this process may use, above which elapsed times say little."""
IDLE = ("idle", "iowait")
COUNTED_TWICE = ("guest", "guest_nice")
"""Linux counts these in `user` and `nice` already."""


@dataclass(frozen=True)
class Sample:
    """A moment: seconds of work of all processors so far, and of our own processes, and the clock."""

    work: float
    own: float
    clock: float


def sample(processes: Sequence[int]) -> Sample | None:
    """Read the machine's counters, and those of these processes and this one; None where a process has ended."""
    try:
        own = [psutil.Process(process).cpu_times() for process in processes] + [psutil.Process().cpu_times()]
    except psutil.Error:
        return None
    times = psutil.cpu_times()._asdict()
    work = sum(seconds for name, seconds in times.items() if name not in (*IDLE, *COUNTED_TWICE))
    return Sample(work, sum(times.user + times.system for times in own), time.monotonic())


def background_load(before: Sample | None, after: Sample | None) -> float | None:
    """Return how many cores other programs used on average between two samples; None where that is not known."""
    if before is None or after is None or after.clock <= before.clock:
        return None
    return max(0.0, (after.work - before.work) - (after.own - before.own)) / (after.clock - before.clock)


def is_busy(seconds: float = 0.2) -> bool:
    """Return whether other programs use so much of the processor, now, that elapsed times say little.

    Args:
        seconds: how long to look; the calling thread waits.
    """
    before = sample(())
    time.sleep(seconds)
    return (background_load(before, sample(())) or 0.0) > BUSY * available_cpus()
