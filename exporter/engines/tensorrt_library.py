"""NVIDIA TensorRT's Python package, the GPU it runs on, and what an engine file is bound to.

An engine file holds machine code for one version of TensorRT and one generation of GPU (its compute capability), so
both stand in its manifest. Names and signatures are those of TensorRT 10.0 to 11.4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from exporter.artifacts.manifest import Manifest
from exporter.errors import UnavailableError
from exporter.foreign_logging import import_library
from exporter.types import Device

LIBRARY = "tensorrt"
"""The module, and its name among a manifest's versions."""
GPU, COMPUTE_CAPABILITY, PROFILE = "gpu", "compute_capability", "optimization_profile"
"""Options of an engine's manifest: the GPU's name, its compute capability, and the shapes that the engine takes."""

MISSING_GPU = (
    "TensorRT needs an NVIDIA GPU, its driver and a CUDA build of torch, which holds the tensors; torch finds no GPU"
)


@dataclass(frozen=True)
class Platform:
    """What an engine file is bound to.

    Attributes:
        version: TensorRT's version.
        gpu: the GPU's name.
        capability: its compute capability, such as `9.0`.
    """

    version: str
    gpu: str
    capability: str

    def __str__(self) -> str:
        """Return `TensorRT 11.4.0.106 on NVIDIA H100 80GB HBM3 (compute capability 9.0)`."""
        return f"TensorRT {self.version} on {self.gpu} (compute capability {self.capability})"


def library() -> Any:
    """Return TensorRT's package, untyped: an optional one, without type stubs.

    Raises:
        UnavailableError: it is not installed, or its libraries do not load.
    """
    return import_library(LIBRARY, "TensorRT", LIBRARY)


def require_device(device: Device) -> None:
    """Refuse to go on without a GPU that torch can use, or without TensorRT.

    Raises:
        UnavailableError: one of them is missing.
    """
    from exporter.engines import cuda_device

    library()
    if not cuda_device.is_available():
        raise UnavailableError(f"--device {device}: {MISSING_GPU}")


def this_platform() -> Platform:
    """Return the installed TensorRT and the current GPU."""
    from exporter.engines import cuda_device

    # a wheel that was packaged again has the same libraries
    version = re.sub(r"\.post\d+$", "", library().__version__)
    return Platform(version, cuda_device.get_name(), cuda_device.get_capability())


def recorded_platform(manifest: Manifest) -> Platform | None:
    """Return what an engine was built by and for, as its manifest states it; None where it does not."""
    version, gpu, capability = manifest.versions.get(LIBRARY), *map(manifest.options.get, (GPU, COMPUTE_CAPABILITY))
    if isinstance(version, str) and isinstance(gpu, str) and isinstance(capability, str):
        return Platform(version, gpu, capability)
    return None


def make_logger() -> Any:
    """Return a logger that keeps TensorRT's errors in `errors` and prints nothing."""
    trt = library()

    class Messages(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(msg)

    return Messages()


def last_error(logger: Any) -> str:
    """Return TensorRT's last error in one line, or that it gave none."""
    return " ".join(logger.errors[-1].split()) if logger.errors else "it gives no reason"


def construct(name: str, logger: Any, *arguments: Any) -> Any:
    """Return a new `tensorrt.<name>`, which takes the logger last: a `Builder`, `OnnxParser` or `Runtime`.

    Raises:
        UnavailableError: TensorRT has no CUDA driver to work with, or does not fit to it.
    """
    try:
        return getattr(library(), name)(*arguments, logger)
    except TypeError as error:  # how its bindings say that the library returned none
        raise UnavailableError(f"TensorRT cannot start here: {last_error(logger)}") from error
