"""The truth: the network in float64, and beside it what PyTorch's own float32 makes of the same clips."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.errors import Progress, quiet
from models.spec import OUTPUTS, Output

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.c3d import C3D


@dataclass(frozen=True)
class Truth:
    """Answers for each clip, a row each.

    Attributes:
        exact: {output: (M, width) float64}, the network in float64.
        torch: {output: (M, width) float32}, the same network in PyTorch eager float32.
        seconds: what computing both took.
    """

    exact: "Mapping[Output, NDArray[np.float64]]"
    torch: "Mapping[Output, NDArray[np.float32]]"
    seconds: float


def compute_truth(network: "C3D", clips: "NDArray[np.float32]", progress: Progress = quiet) -> Truth:
    """Run `network` on every clip in float32, then in float64.

    The network is converted in place, because two copies would cost 0.9 GB: it is float64 afterwards. Clips go in one
    at a time, which bounds memory and gives each its own error.

    Args:
        network: eval mode, float32.
        clips: (M, 3, 16, 112, 112), float32.
        progress: told at every clip.
    """
    start = perf_counter()
    single = _run(network, clips, lambda i: progress(f"PyTorch float32, clip {i} of {len(clips)}"))
    exact = _run(network.double(), clips, lambda i: progress(f"PyTorch float64, clip {i} of {len(clips)}"))
    return Truth(exact, single, perf_counter() - start)


def _run(network: "C3D", clips: "NDArray[np.float32]", step: "Callable[[int], None]") -> "dict[Output, NDArray[Any]]":
    dtype = next(network.parameters()).dtype
    rows: dict[Output, list[NDArray[Any]]] = {name: [] for name in OUTPUTS}
    with torch.inference_mode():
        for number, clip in enumerate(clips, start=1):
            step(number)
            fc6, fc7, logits = network.stages(torch.from_numpy(clip[None]).to(dtype))
            answers: dict[Output, torch.Tensor] = {
                "logits": logits,
                "fc6": fc6,
                "fc7": fc7,
                "probabilities": torch.softmax(logits, dim=1),
            }
            for name, answer in answers.items():
                rows[name].append(answer.numpy())
    return {name: np.concatenate(row) for name, row in rows.items()}
