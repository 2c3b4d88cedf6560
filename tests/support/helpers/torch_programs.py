"""TorchScript archives and `.pt2` files of a network, as its owner's script writes them."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn


def save_script(network: nn.Module, path: Path, example: Tensor | None = None) -> Path:
    """Save a scripted network, or one that was traced on an example."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit")
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # pyright: ignore  # of the network's check of a clip's size
        module = torch.jit.script(network) if example is None else torch.jit.trace(network, example)  # pyright: ignore
        torch.jit.save(module, str(path))  # pyright: ignore
    return path


def save_program(network: nn.Module, path: Path, example: Tensor) -> Path:
    """Save a network that `torch.export` traced on an example."""
    torch.export.save(torch.export.export(network, (example,)), path)
    return path
