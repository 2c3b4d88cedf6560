"""Functions that `run_isolated` calls in tests: a module that its process can import."""

import itertools
import os
import time
from pathlib import Path

from exporter.errors import CheckFailedError
from exporter.isolation.worker import add_stage, native_call


def square(number: int, *, offset: int = 0) -> tuple[int, int]:
    return number * number + offset, os.getpid()


def fail(kind: type[Exception], message: str) -> None:
    raise kind(message)


class OddError(CheckFailedError):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fail_oddly() -> None:
    raise OddError(1, 2)


def crash(path: Path, number: int) -> None:
    with native_call("libx", path):
        os.kill(os.getpid(), number)


def hang(path: Path, seconds: float | None = None) -> None:
    with native_call("libx", path, seconds):
        max(itertools.count())


def fill(path: Path) -> int:
    kept: list[bytes] = []
    with native_call("libx", path):
        for _ in range(500):
            kept.append(b"x" * 10_000_000)
            time.sleep(0.01)
    return len(kept)


def token() -> str | None:
    return os.environ.get("HF_TOKEN")


def leave_stage(folder: Path) -> int:
    """Return 1 without having removed a staging folder, as where no memory is left for that."""
    stage = folder / "stage"
    stage.mkdir()
    add_stage(stage, folder)
    return 1
