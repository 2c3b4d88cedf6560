"""Turns of the engine and of the decoders, where the engine's threads use every core."""

from __future__ import annotations

from threading import Lock

from exporter.system import available_cpus
from exporter.types import Device

CORES_OF_A_DECODER = 4
"""Beside an engine on the CPU, one decoder for so many cores."""


class Turns:
    """Decoders rest while the engine runs.

    An engine that has as many threads as there are cores divides each operator among them. A decoder beside it takes a
    core from one of them, for which all others then wait at the end of the operator: a millisecond of decoding costs
    one of every core. In turns, decoding costs its own time, and has all cores for it. When the engine begins, each
    decoder finishes its frame.

    Attributes:
        engine: the engine holds it while it runs. A plain lock: whatever a signal interrupts, `with` releases it.
    """

    def __init__(self) -> None:
        self.engine = Lock()

    def wait(self) -> None:
        """Wait until the engine does not run."""
        with self.engine:
            pass


def takes_turns(device: Device, threads: int | None) -> bool:
    """Return whether decoders rest while an engine runs: it has every core, and too few to spare one for a decoder.

    Args:
        device: where the engine runs.
        threads: the engine's threads; None for all cores.
    """
    cores = available_cpus()
    return device == "cpu" and cores < CORES_OF_A_DECODER and (threads or cores) >= cores
