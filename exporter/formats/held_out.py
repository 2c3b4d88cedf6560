"""How accurate a candidate below float32 is, on the clips that are held out from calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.engines.base import Runtime, RuntimeOptions
from models.built_model import BuiltModel
from models.progress import Progress, no_progress


class HeldOut:
    """The held-out clips and what the network returns for them in float64.

    Args:
        model: the network, without preprocessing in front.
        outputs: the names of the outputs that count.
        clips: (N, …) float32, as the network takes them.
        progress: called before every clip.
    """

    def __init__(
        self, model: BuiltModel, outputs: Sequence[str], clips: NDArray[Any], progress: Progress = no_progress
    ) -> None:
        self.model, self.outputs, self.clips, self.progress = model, tuple(outputs), clips, progress

    @cached_property
    def float64(self) -> list[dict[str, NDArray[Any]]]:
        """{output: value (1, …) in float64} of each clip; computed at the first access, one clip at a time."""
        from exporter.engines.pytorch import PyTorchRuntime

        golden: list[dict[str, NDArray[Any]]] = []
        with PyTorchRuntime(self.model, "float64", RuntimeOptions()) as runtime:
            for number in range(len(self.clips)):
                self.progress(f"the network in float64: held-out clip {number + 1} of {len(self.clips)}")
                found = runtime.run({self.model.input.name: self.clips[number : number + 1]})
                golden.append({name: found[name] for name in self.outputs})
        return golden

    def lowest_snr(self, runtime: Runtime) -> float:
        """Return the lowest signal-to-noise ratio of a loaded model over clips and outputs, in decibels.

        The model takes a batch of one or of any size, and names inputs and outputs as the network does. A result that
        is not finite where the network's is counts as minus infinity.
        """
        lowest = math.inf
        for number, golden in enumerate(self.float64):
            clip = self.clips[number : number + 1]
            batch = runtime.signature.batch or 1
            values = runtime.run({self.model.input.name: np.repeat(clip, batch, axis=0)})
            lowest = min(lowest, *(snr_db(values[name][:1], exact) for name, exact in golden.items()))
        return lowest


def snr_db(values: NDArray[Any], exact: NDArray[Any]) -> float:
    """Return 20 log10(|exact| / |values - exact|) in Euclidean norms; minus infinity where a value is not finite."""
    with np.errstate(all="ignore"):
        signal = float(np.linalg.norm(exact.astype(np.float64).ravel()))
        noise = float(np.linalg.norm(values.astype(np.float64).ravel() - exact.astype(np.float64).ravel()))
    if not math.isfinite(noise) or (signal == 0 and noise > 0):
        return -math.inf
    return math.inf if noise == 0 else 20 * math.log10(signal / noise)
