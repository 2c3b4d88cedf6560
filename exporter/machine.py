"""The processor that this runs on, as reports and caches name it."""

import os
import platform
from pathlib import Path


def processor() -> str:
    """Return the processor's name; Python's own does not tell it on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))
