"""The processor that this runs on, as reports and caches name it."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from exporter import __version__


def cpu_model() -> str:
    """Return the processor's name; Python's own does not tell it on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def available_cpus() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "numpy")


def environment() -> dict[str, str]:
    """Return {what: value}: this tool, Python, the libraries that are installed, the system and its processor."""
    found = {"c3d-export": __version__, "Python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found["system"] = f"{platform.system()} {platform.release()} {platform.machine()}"
    found["processor"] = f"{cpu_model()}, {available_cpus()} usable cores"
    return found
