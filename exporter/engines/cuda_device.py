"""The current NVIDIA GPU, through torch. Nothing else of an adapter depends on there being one."""

from __future__ import annotations

from typing import Any

import torch

MEMORY = "cuda"
"""The torch device whose tensors are in its memory."""


def is_available() -> bool:
    """Return whether torch can use a GPU."""
    return torch.cuda.is_available()


def get_name() -> str:
    """Return its name, such as `NVIDIA L4`."""
    return torch.cuda.get_device_name()


def get_capability() -> str:
    """Return its compute capability, such as `8.9`."""
    return "{}.{}".format(*torch.cuda.get_device_capability())


def new_stream() -> Any:
    """Return a stream of its own for an adapter's work: `cuda_stream` is its handle, `synchronize()` waits for it."""
    return torch.cuda.Stream()
