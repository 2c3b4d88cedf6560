"""Turns of the engine and of the decoders, where the engine's threads use every core."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from threading import Event

from exporter.system import available_cpus
from exporter.types import Device

CORES_OF_A_DECODER = 4
"""Beside an engine on the CPU, one decoder for so many cores."""


class Turns:
    """Decoders rest while the engine runs.

    An engine that has as many threads as there are cores divides each operator among them. A decoder beside it takes a
    core from one of them, for which all others then wait at the end of the operator: a millisecond of decoding costs
    one of every core. In turns, decoding costs its own time, and has all cores for it.
    """

    def __init__(self) -> None:
        self._engine_rests = Event()
        self._engine_rests.set()

    def wait(self) -> None:
        """Wait until the engine does not run."""
        self._engine_rests.wait()

    @contextmanager
    def engine_runs(self) -> Generator[None]:
        """Let the decoders rest for the block. A frame that is being decoded is finished first."""
        self._engine_rests.clear()
        try:
            yield
        finally:
            self._engine_rests.set()


def takes_turns(device: Device, threads: int | None) -> bool:
    """Return whether decoders rest while an engine runs: it has every core, and too few to spare one for a decoder.

    Args:
        device: where the engine runs.
        threads: the engine's threads; None for all cores.
    """
    cores = available_cpus()
    return device == "cpu" and cores < CORES_OF_A_DECODER and (threads or cores) >= cores
