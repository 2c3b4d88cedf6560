"""Where a verification ran: what a reader needs to repeat it."""

import platform
from importlib.metadata import PackageNotFoundError, version

from exporter import __version__
from exporter.machine import processor, usable_cores

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
    found["processor"] = f"{processor()}, {usable_cores()} usable cores"
    return found
