"""Which of C3D's linear layers a file's are, where their names do not say it: by their number and widths.

The last layer is the classifier or features, which a ReLU follows; the outputs differ, and no shape states it. Widths
do in practice: hidden layers have multiples of 1024 values, and no data set has a multiple of 64 classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.checkpoints.layout import LINEARS

CLASS_STEP = 64
"""A last layer whose width is no multiple of this gives class scores."""

Matrix = tuple[int, ...]
"""The shape (outputs, inputs) of a linear weight."""


def name_linears(weights: Sequence[Matrix], channels: int) -> tuple[str, ...]:
    """Return the canonical names of a network's linear layers, in the order of the forward pass.

    Args:
        weights: their shapes, at least one and at most three.
        channels: of conv5b. A single layer that reads one value for each follows a global pool: it is the classifier.
    """
    outputs, inputs = weights[-1]
    if gives_classes(outputs) or (len(weights) == 1 and inputs == channels):
        return (*LINEARS[: len(weights) - 1], LINEARS[-1])
    return LINEARS[: len(weights)]


def gives_classes(width: int) -> bool:
    """Return whether a last layer of this width is taken for the classifier."""
    return width % CLASS_STEP != 0
