"""What is taken for the last linear layer of a file, as a note, or the options that state it where no width does."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping

from models.checkpoints.detection import LayoutMatch
from models.checkpoints.layout import LINEARS, SEQUENTIAL, Shapes
from models.checkpoints.unnamed_layers import gives_classes
from models.errors import CheckpointError

FEATURE_STEP = 1024
"""A last layer whose width is a multiple of this gives features."""


def describe_last(found: LayoutMatch, shapes: Shapes, names: Collection[str]) -> tuple[str, ...]:
    """Return a note on the last linear layer where its name in the file does not say which it is; otherwise ().

    Args:
        found: how the file calls its tensors.
        shapes: {canonical name: shape} of the network.
        names: of the file's tensors.

    Raises:
        CheckpointError: its width does not tell features from class scores; the message has the options that do.
    """
    layer = next((layer for layer in reversed(LINEARS) if f"{layer}.weight" in shapes), "")
    weight = f"{layer}.weight"
    name = found.weights.get(weight, "").removeprefix(found.prefix)
    if not name or found.prefix + name in found.mapped or layer in name or not shapes[weight]:
        return ()
    numbered = found.layout.name == SEQUENTIAL
    if not numbered and f"{LINEARS[-1]}.weight" not in found.layout.names.values():
        return ()  # an origin whose network ends there
    width = shapes[weight][0]
    if layer == LINEARS[-1]:
        if not numbered or f"{LINEARS[-2]}.weight" in shapes or not gives_classes(width):
            return ()
        return (f"{name} is taken for {weight}, the classifier, because {width} is no width of a hidden layer",)
    own = {
        canonical: theirs
        for theirs, canonical in found.layout.names.items()
        if canonical.startswith(f"{layer}.") and found.prefix + theirs in names
    }
    classifier = _options(own, LINEARS[-1])
    if width % FEATURE_STEP == 0:
        text = (
            f"{name} is taken for {layer}, which a ReLU follows, because {width} is no number of classes; if it gives"
        )
        return (f"{text} class scores, {classifier} takes it for the classifier",)
    raise CheckpointError(
        f"{name}, the last linear layer, has {width} outputs, which may be features or class scores: "
        f"{_options(own, layer)} takes it for {layer}, which a ReLU follows, {classifier} for the classifier"
    )


def _options(weights: Mapping[str, str], layer: str) -> str:
    """Return the `--key-map` options that take a layer's tensors for `layer`'s."""
    entries = [f"{theirs}={layer}.{ours.partition('.')[2]}" for ours, theirs in weights.items()]
    if all(theirs.endswith(f".{ours.partition('.')[2]}") for ours, theirs in weights.items()):
        entries = list(dict.fromkeys(f"{theirs.rpartition('.')[0]}={layer}" for theirs in weights.values()))
    return shlex.join(word for entry in entries for word in ("--key-map", entry))
