"""Which of C3D's linear layers a file's are, where their names do not say it: by their number and widths.

The last layer is the classifier or features, which a ReLU follows; the outputs differ, and no shape states it. Widths
do in practice: hidden layers have multiples of 1024 values, and no data set has a multiple of 64 classes.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from models.checkpoints.layout import LINEARS
from models.errors import CheckpointError

FEATURE_STEP = 1024
"""A last layer whose width is a multiple of this gives features."""
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


def describe_last(layer: str, name: str, width: int, weights: Mapping[str, str]) -> str:
    """Return the note on a last linear layer whose name does not say which it is.

    Args:
        layer: what it is taken for.
        name: of its weight in the file, below the network's prefix.
        width: its outputs.
        weights: {canonical name: the file's name below the prefix} of its tensors.

    Raises:
        CheckpointError: its width does not tell features from class scores; the message has the options that do.
    """
    if layer == LINEARS[-1]:
        return f"{name} is taken for {layer}.weight, the classifier, because {width} is no width of a hidden layer"
    if width % FEATURE_STEP == 0:
        return (
            f"{name} is taken for {layer}, which a ReLU follows, because {width} is no number of classes; if it gives "
            f"class scores, {_options(weights, LINEARS[-1])} takes it for the classifier"
        )
    raise CheckpointError(
        f"{name}, the last linear layer, has {width} outputs, which may be features or class scores: "
        f"{_options(weights, layer)} takes it for {layer}, which a ReLU follows, {_options(weights, LINEARS[-1])} for "
        "the classifier"
    )


def _options(weights: Mapping[str, str], layer: str) -> str:
    """Return the `--key-map` options that take a layer's tensors for `layer`'s."""
    entries = [f"{theirs}={layer}.{ours.partition('.')[2]}" for ours, theirs in weights.items()]
    if all(theirs.endswith(f".{ours.partition('.')[2]}") for ours, theirs in weights.items()):
        entries = list(dict.fromkeys(f"{theirs.rpartition('.')[0]}={layer}" for theirs in weights.values()))
    return shlex.join(word for entry in entries for word in ("--key-map", entry))
