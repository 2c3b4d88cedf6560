"""The signals that end the tool."""

from __future__ import annotations

import signal

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP


def is_heard(number: int) -> bool:
    """Return whether a signal ends the tool: not SIGHUP under nohup, which ignores it."""
    return number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN
