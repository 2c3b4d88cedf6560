"""How far outputs on held-out clips are from the network in float64: what `bench --all` states for every row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from exporter.formats.held_out import snr_db
from exporter.parity.golden import GoldenOutputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Outputs = Mapping[str, NDArray[np.float64]]

SCORES_AXES = 2
"""Axes of a batch of class scores, (N, classes)."""


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of a target on the held-out clips.

    Attributes:
        snr_db: the lowest signal-to-noise ratio of any output on any clip, 20 log10(|float64| / |error|), in decibels;
            infinite where all are equal, minus infinity where an output is not finite.
        top1: the fraction of clips whose highest class is that of float64, in every output with class scores; None
            without class scores.
    """

    snr_db: float
    top1: float | None


def measure_accuracy(outputs: Outputs, golden: GoldenOutputs) -> Accuracy:
    """Compare a target's outputs on all rows of `golden`, {output: (rows, …)}, with the float64 reference.

    Raises:
        ValueError: an output has another shape than the network's, or none has the name of one of the network's.
    """
    rows = range(len(golden.inputs.names))
    golden.compute(rows)
    lowest, agrees = math.inf, np.ones(len(rows), bool)
    known = golden.row(0)[0]["float64"]
    compared = [name for name in outputs if name in known]
    scores = [name for name in compared if name not in golden.source.features and outputs[name].ndim == SCORES_AXES]
    if not compared:
        raise ValueError(f"returns {', '.join(outputs)}; the network returns {', '.join(known)}")
    for name in compared:
        values, exact = outputs[name], golden.float64(name, list(rows))
        if values.shape != exact.shape:
            raise ValueError(f"output {name} has the shape {values.shape}; the network's is {exact.shape}")
        lowest = min(lowest, *(snr_db(*pair) for pair in zip(values, exact, strict=True)))
        if name in scores:
            agrees &= values.argmax(-1) == exact.argmax(-1)
    return Accuracy(lowest, float(agrees.mean()) if scores else None)
