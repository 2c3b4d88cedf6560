"""One module per engine that can run an artifact. A new engine is one module and one line of `RUNTIMES`."""

from collections.abc import Callable
from pathlib import Path

from exporter.runtimes import onnxruntime, torchscript
from exporter.runtimes.base import Runtime
from exporter.runtimes.onnxruntime import OnnxRuntime
from exporter.runtimes.torchscript import TorchScriptRuntime
from exporter.types import Device, FormatName, Signature

__all__ = ["RUNTIMES", "Runtime", "require_device"]

RUNTIMES: dict[FormatName, Callable[[Path, Device, Signature, bool], Runtime]] = {
    "onnx": OnnxRuntime,
    "torchscript": TorchScriptRuntime,
}
"""The engine that runs each format: (model file, device, the signature it should have, run the optimised form)."""


def require_device(name: FormatName, device: Device) -> None:
    """Refuse early, before any long computation, a device that the format's engine cannot use here.

    Raises:
        UnavailableError: with the package to install.
    """
    {"onnx": onnxruntime.require_device, "torchscript": torchscript.require_device}[name](device)
