"""The signals that end the tool."""

from __future__ import annotations

import signal

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP


CRASHES = frozenset(
    getattr(signal, f"SIG{name}")
    for name in ("SEGV", "BUS", "FPE", "ILL", "ABRT", "TRAP", "SYS")
    if hasattr(signal, f"SIG{name}")
)
"""Signals that a fault of the process itself raises; all others are sent by another process or the system."""


def signal_name(number: int) -> str:
    """Return a signal's name, such as SIGTERM; `signal 35` for one without, of a real-time system."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def is_handled(number: int) -> bool:
    """Return whether a signal ends the tool: not SIGHUP under nohup, which ignores it."""
    return number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN
