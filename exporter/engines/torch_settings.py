"""The settings of torch that every adapter of it uses: device, threads, no TF32."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Generator

import torch

from exporter.engines.base import RuntimeOptions
from exporter.errors import UnavailableError
from exporter.types import Device

MISSING_CUDA = (
    "--device cuda: the installed torch cannot use CUDA here; "
    "pip install a CUDA build of torch on a machine with an NVIDIA driver"
)


def require_device(device: Device) -> None:
    """Refuse a device that the installed torch cannot use.

    Raises:
        UnavailableError: the device is missing; the message says what to install.
    """
    if device == "tensorrt":
        raise UnavailableError("--device tensorrt: torch has no such device; an ONNX file in onnxruntime has")
    if device == "cuda" and not torch.cuda.is_available():
        raise UnavailableError(MISSING_CUDA)


def require_compiler(what: str) -> None:
    """Refuse what torch's inductor compiles where there is no C++ compiler.

    Args:
        what: what needs it, for the message: `--format pt2-aoti`.

    Raises:
        UnavailableError: there is none; the message names the package.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise UnavailableError(f"{what} needs a C++ compiler, and there is no {compiler}; apt-get install g++")


@contextlib.contextmanager
def apply_settings(options: RuntimeOptions) -> Generator[None]:
    """Set torch's thread count, and turn TF32 off on CUDA, which keeps 10 bits of mantissa; restore both at the end."""
    threads = torch.get_num_threads()
    cudnn, matmul = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = cudnn, matmul
