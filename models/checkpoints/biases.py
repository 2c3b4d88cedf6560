"""Biases that a file does not have: zero where no layer of a kind has one, which is `bias=False`, otherwise missing."""

from __future__ import annotations

from collections import Counter

from models.checkpoints.layout import LINEARS, Shapes
from models.config import BATCH_NORMS, CONVOLUTIONS, LINEAR_BATCH_NORMS
from models.errors import CheckpointError, join_limited

_KINDS = {"convolutions": tuple(CONVOLUTIONS), "hidden linear layers": LINEARS[:-1], "classifier": LINEARS[-1:]}
"""{kind: the layers that a network's code constructs alike}."""


def zero_biases(tensors: Shapes, left_out: Shapes) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return {bias that the network does not have and 0 is taken for: its length}, and a note on each kind of layer.

    Args:
        tensors: {canonical name: shape} of the network.
        left_out: {the file's name: shape} outside the network.

    Raises:
        CheckpointError: no layer of a kind has a bias, and tensors of the lengths of all of them are outside the
            network: they may be the biases.
    """
    zeros: dict[str, int] = {}
    notes: list[str] = []
    for kind, layers in _KINDS.items():
        present = [layer for layer in layers if _outputs(tensors, layer)]
        without = [layer for layer in present if f"{layer}.bias" not in tensors]
        normed = [layer for layer in without if _norm(layer) in tensors]
        bare = [layer for layer in without if layer not in normed]
        if normed:
            notes.append(f"the {kind} have no bias, as is usual before BatchNorm: 0 is taken")
        if bare and len(bare) == len(present):
            _check_left_out(Counter(_outputs(tensors, layer) for layer in bare), kind, left_out)
            notes.append(f"the {kind} {'have' if kind.endswith('s') else 'has'} no bias (bias=False): 0 is taken")
        elif bare:
            continue  # some are missing: `load_into` names them
        zeros |= {f"{layer}.bias": _outputs(tensors, layer) for layer in (*normed, *bare)}
    return zeros, tuple(notes)


def _norm(layer: str) -> str:
    """Return the bias of the BatchNorm that may follow a layer."""
    return f"{(BATCH_NORMS | LINEAR_BATCH_NORMS).get(layer, '')}.bias"


def _outputs(tensors: Shapes, layer: str) -> int:
    """Return a layer's outputs; 0 where the file does not have its weight."""
    shape = tensors.get(f"{layer}.weight", ())
    return shape[0] if shape else 0


def _check_left_out(lengths: Counter[int], kind: str, left_out: Shapes) -> None:
    alike = {name: shape[0] for name, shape in left_out.items() if len(shape) == 1 and shape[0] in lengths}
    if Counter(alike.values()) >= lengths:
        example = next(iter(alike))
        raise CheckpointError(
            f"no bias of the {kind} is under the network's prefix, but tensors of their lengths are beside it: "
            f"{join_limited(alike, 3)}. --key-map {example}=LAYER.bias for each takes them, --ignore leaves them out"
        )
