"""Whether the machine was quiet: how much of its processors others used while contestants had their turns."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")
IDLE = (3, 4)
"""Columns of /proc/stat's first line that are no work: idle, iowait."""
REPEATED = 8
"""From here on (`guest`, `guest_nice`) its columns repeat what earlier ones hold."""
NOISE = 0.1
"""Cores' worth of others' work from which on it is told."""


@dataclass(frozen=True)
class Sample:
    """A moment: seconds of work of all processors so far, and of our own processes, and the clock."""

    work: float
    own: float
    clock: float


def sample(processes: Sequence[int]) -> Sample | None:
    """Read the machine's counters and those of these processes and this one; None where Linux's /proc does not tell."""
    tick = os.sysconf("SC_CLK_TCK")
    try:
        columns = [int(value) for value in STAT.read_text("ascii").splitlines()[0].split()[1:]][:REPEATED]
        own = sum(_ticks(process) for process in (*processes, os.getpid()))
    except (OSError, ValueError, IndexError):
        return None
    work = sum(value for place, value in enumerate(columns) if place not in IDLE)
    return Sample(work / tick, own / tick, time.monotonic())


def background_load(before: Sample | None, after: Sample | None) -> float | None:
    """Return how many cores others kept busy on average between two samples; None where that is not known."""
    if before is None or after is None or after.clock <= before.clock:
        return None
    return max(0.0, (after.work - before.work) - (after.own - before.own)) / (after.clock - before.clock)


def _ticks(process: int) -> int:
    """Return a process's user and system time, clock ticks. Its name, which may hold anything, ends at the last `)`."""
    fields = Path(f"/proc/{process}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
