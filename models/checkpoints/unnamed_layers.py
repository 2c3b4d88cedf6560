"""Which of C3D's layers a file's are, where their names do not say it: by their order, number and shapes.

The last linear layer is the classifier or features, which a ReLU follows; the outputs differ, and no shape states it.
Widths do in practice: hidden layers have multiples of 1024 values, and no data set has a multiple of 64 classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from models.checkpoints.layout import KERNEL, LINEARS, Shape
from models.config import CHANNEL_FACTORS

CLASS_STEP = 64
"""A last layer whose width is no multiple of this gives class scores."""


def find_base_channels(kernels: Sequence[Shape]) -> int | None:
    """Return conv1's output channels where the kernels (out, in, 3, 3, 3) are C3D's eight in order, otherwise None."""
    if len(kernels) != len(CHANNEL_FACTORS) or any(kernel[2:] != KERNEL for kernel in kernels):
        return None
    base = kernels[0][0]
    outputs = [factor * base for _, factor in CHANNEL_FACTORS.values()]
    chained = all(after[1] == before[0] for before, after in pairwise(kernels))
    return base if base and chained and [kernel[0] for kernel in kernels] == outputs else None


def name_linears(weights: Sequence[Shape], channels: int) -> tuple[str, ...]:
    """Return the canonical names of linear layers in the order of the forward pass; () where they are no C3D's.

    Args:
        weights: their shapes (outputs, inputs).
        channels: of conv5b. A single layer that reads one value for each follows a global pool: it is the classifier.
    """
    if not 1 <= len(weights) <= len(LINEARS) or weights[0][1] % channels:
        return ()
    if any(after[1] != before[0] for before, after in pairwise(weights)):
        return ()
    outputs, inputs = weights[-1]
    if gives_classes(outputs) or (len(weights) == 1 and inputs == channels):
        return (*LINEARS[: len(weights) - 1], LINEARS[-1])
    return LINEARS[: len(weights)]


def gives_classes(width: int) -> bool:
    """Return whether a last layer of this width is taken for the classifier."""
    return width % CLASS_STEP != 0
