"""The machine that this runs on, as reports and caches name it."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from exporter import __version__

LIBRARIES = ("torch", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "numpy")
CPUINFO = Path("/proc/cpuinfo")


def cpu_model() -> str:
    """Return the processor's name. On Linux the kernel knows it, and Python's `platform` does not."""
    try:
        lines = CPUINFO.read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def available_cpus() -> int:
    """Return how many cores this process may use: those of its affinity, where the system has one."""
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # not on macOS
        return len(process.cpu_affinity() or ())
    return psutil.cpu_count() or 1


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
