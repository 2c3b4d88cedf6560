"""A function that workers on Ray run in tests. It writes down, in a folder, which process takes which item."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from exporter.errors import VideoError
from exporter.inference.ray_pool import map_on_ray
from exporter.inference.types import RayOptions

SLOW, FATAL, BAD, BUG = 2, 90, 91, 92
"""Items: one that waits for the test, one that no worker survives, one that raises, one that fails as a bug does."""


def open_task(folder: Path) -> Callable[[tuple[str, int]], tuple[int, str, int]]:
    """Open the task, as in `map_on_ray`."""
    content = (folder / "model.bin").read_bytes().decode()
    return lambda item: task(content, *item)


def task(content: str, folder: str, item: int) -> tuple[int, str, int]:
    """Return the item, the content of the file that was sent along, and the number of threads that Ray allows."""
    journal = Path(folder) / str(item)
    with journal.open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    if item == SLOW and len(journal.read_text().split()) == 1:
        time.sleep(120)  # the test ends the process
    if item == FATAL:
        os.kill(os.getpid(), 9)
    if item == BAD:
        raise VideoError("item 91 is bad")
    if item == BUG:
        raise KeyError("item 92")
    time.sleep(0.02)
    return item, content, int(os.environ["OMP_NUM_THREADS"])


def main(folder: str, items: str, address: str) -> None:
    """Run the task over items; print what comes back."""
    options = RayOptions(address or None, workers=2)
    work = [(folder, int(item)) for item in items.split(",")]
    for result in map_on_ray(open_task, work, options, files={"model.bin": Path(folder) / "model.bin"}):
        sys.stdout.write(f"{result}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
