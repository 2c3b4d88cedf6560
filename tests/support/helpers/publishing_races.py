"""Several processes that publish into one folder at the same time, with locks that work and with locks that do nothing."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from exporter.errors import OutputError
from helpers.publications import FILE_SYSTEMS, REFUSED, Publication, list_clean, list_files
from helpers.publishing_faults import at_call

COMPLETE, REFUSAL, BUG = 0, 3, 70


@dataclass
class Races:
    """What became of a number of rounds.

    Attributes:
        outcomes: how the processes ended: `complete`, `refused` or `killed`.
        mixed: rounds after which the folder did not hold one complete set.
        left: rounds after which other files were there than after an undisturbed publication.
    """

    outcomes: Counter[str] = field(default_factory=Counter[str])
    mixed: int = 0
    left: int = 0


def race(
    publication: Publication,
    work: Path,
    *,
    rounds: int,
    processes: int = 8,
    locks: bool = True,
    file_system: str = "usual",
    killed: float = 0.0,
    seed: int = 0,
) -> Races:
    """Let processes publish under one name at once, in each round each another content, and read what is there then.

    Args:
        publication: what they publish.
        work: an empty folder.
        rounds: how often.
        processes: how many.
        locks: whether `flock` works; otherwise it says so and does nothing, as on some network file systems.
        file_system: one of FILE_SYSTEMS.
        killed: the part of them that is killed in the middle.
        seed: of which ones, and when.
    """
    draw = random.Random(seed)
    races, contents = Races(), "".join(chr(ord("a") + number) for number in range(processes))
    clean = list_clean(publication, work / "clean", f"z{contents}")
    folder = work / "out"
    folder.mkdir()
    publication.publish(folder, "z")
    for _ in range(rounds):
        delays = [draw.uniform(0, 0.02) if draw.random() < killed else None for _ in range(processes)]
        children = _start(contents, publication, folder, locks, file_system)
        for child, delay in sorted(zip(children, delays, strict=True), key=lambda pair: pair[1] or 0):
            if delay is not None:
                time.sleep(delay / processes)
                os.kill(child, signal.SIGKILL)
        for child in children:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            races.outcomes[{COMPLETE: "complete", REFUSAL: "refused", -signal.SIGKILL: "killed"}.get(code, "bug")] += 1
        publication.recover(folder)
        try:
            found = publication.read(folder)
        except (AssertionError, OSError):
            found = REFUSED
        races.mixed += found not in clean
        races.left += list_files(folder) != clean.get(found)
    return races


def _start(contents: str, publication: Publication, folder: Path, locks: bool, file_system: str) -> list[int]:
    """Start a process for each content; they begin together, and their calls interleave."""
    waiting, go = os.pipe()
    children: list[int] = []
    for content in contents:
        if child := os.fork():
            children.append(child)
            continue
        os.close(go)
        os.read(waiting, 1)
        if not locks:
            fcntl.flock = _pretend  # type: ignore[assignment]
        draw = random.Random(content)
        with FILE_SYSTEMS[file_system](), at_call(0, lambda _name: time.sleep(draw.uniform(0, 0.001)), repeat=True):  # noqa: B023
            _run(lambda: publication.publish(folder, content))  # noqa: B023 - runs in this iteration
    os.close(waiting)
    os.close(go)
    return children


def _pretend(_descriptor: int, _operation: int) -> None:
    """Say that a file is locked."""


def _run(work: Callable[[], None]) -> None:
    """Do some work in a child process, and end it with an exit code."""
    code = BUG
    try:
        work()
        code = COMPLETE
    except OutputError:
        code = REFUSAL
    except BaseException as error:  # noqa: BLE001 - the parent counts it
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(code)
