"""Wall-clock seconds by phase, as results carry them."""

import contextlib
from collections.abc import Generator
from time import perf_counter


@contextlib.contextmanager
def timed(seconds: dict[str, float], phase: str) -> Generator[None]:
    """Put the seconds that the block takes into `seconds[phase]`."""
    start = perf_counter()
    yield
    seconds[phase] = perf_counter() - start
