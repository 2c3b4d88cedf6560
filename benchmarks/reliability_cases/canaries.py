"""Before any case: is noticed what is looked for? What is not noticed would count as no failure."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from reliability_cases.base import Row
from reliability_cases.forked import HEADROOM, run_cases, run_command
from reliability_cases.watch import Watch


def check(folder: Path) -> None:
    """Run work that does each forbidden thing once.

    Raises:
        AssertionError: it was not noticed.
    """
    watch = Watch(folder)
    work: dict[str, Callable[[], object]] = {
        "ends the process": lambda: os.kill(os.getpid(), signal.SIGSEGV),
        "raises": lambda: int("x"),
        "takes processor time": lambda: _spin(0.5),
        "takes memory": lambda: bytearray(HEADROOM + (64 << 20)).count(1),
        "runs a command": lambda: os.system("true"),  # pyright: ignore[reportDeprecated]
        "opens a file for writing": lambda: Path("/dev/null").open("w").close(),
        "evaluates": lambda: eval("1"),
        "does nothing": lambda: None,
    }
    names = list(work)

    def run(number: int) -> tuple[str, str]:
        with watch.armed():
            work[names[number]]()
        return names[number], watch.events[0] if watch.events else ""

    row = run_cases(Row("", ""), len(names), run, seconds=0.4)
    assert row.count == len(names), row
    assert len(row.failures) == len(names) - 1, f"the machinery noticed only {row.failures}"
    done = run_command(["c3d-export", "--no-such-option"], folder)
    assert (done.code, done.faults) == (2, []), done


def _spin(seconds: float) -> None:
    over = time.process_time() + seconds
    while time.process_time() < over:
        pass
