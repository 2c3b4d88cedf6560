"""Options that make a refused checkpoint load, for its error message. A test runs each of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from models.checkpoints.checkpoint import Checkpoint
from models.config import CLASSIFIER_KEYS
from models.errors import count, join_limited

MAX_PATTERNS = 4

PARAMETRIZED = re.compile(r"\.(weight|bias)_(g|v|u|orig|mask)$|\.parametrizations\.")
"""Names of the parts from which torch.nn.utils computes a weight."""


def describe_unexpected(checkpoint: Checkpoint, canonical: Sequence[str] = ()) -> str:
    """Return which tensors are in the way, with the options that leave them out or explain them.

    Args:
        checkpoint: with tensors under its prefix that no table knows.
        canonical: tensors that its layout knows and the network has not.
    """
    names = [*canonical, *checkpoint.extra.unexpected]
    it = "it" if len(names) == 1 else "them"
    text = f"{count(len(names), 'tensor', ('does', 'do'))} not belong to C3D ({checkpoint.layout.name} layout): "
    text += join_limited(names)
    if any(PARAMETRIZED.search(name) for name in names):
        return (
            f"{text}; weight norm, spectral norm or pruning keeps a weight in such parts: where it was made, call "
            "torch.nn.utils.remove_weight_norm, remove_spectral_norm, prune.remove or "
            "parametrize.remove_parametrizations on the layer, and save it again"
        )
    if canonical:
        return text
    if between := _between_layers(checkpoint, names):
        example = next(iter(between)).rpartition(".")[0].removeprefix(checkpoint.chosen.prefix)
        return (
            f"{text}; convolutions and normalisations among them make it another network, unless they are beside "
            f"C3D's layers (then --ignore leaves them out) or are C3D's own (then --key-map {example}=NAME names each)"
        )
    options = " ".join(f"--ignore {shlex.quote(pattern)}" for pattern in _patterns(names, checkpoint.chosen.prefix))
    text += f"; {options} leaves {it} out"
    heads = [name.removesuffix(".weight") for name in names if _is_head(checkpoint, name)]
    if CLASSIFIER_KEYS[0] not in checkpoint.tensors and len(heads) == 1:
        layer = heads[0].removeprefix(checkpoint.chosen.prefix)
        text += f", {shlex.join(['--key-map', f'{layer}=fc8'])} takes {layer} for fc8"
    return text


def _between_layers(checkpoint: Checkpoint, names: Sequence[str]) -> list[str]:
    """Return the tensors of layers that change the outputs if they are between C3D's: to ignore them is no advice."""
    shapes = {name: checkpoint.raw.tensors[checkpoint.chosen.path(name)].shape for name in names}
    return [name for name, shape in shapes.items() if len(shape) == 5 or name.endswith("running_mean")]


def _patterns(names: Sequence[str], prefix: str) -> list[str]:
    """Return few patterns that match all names: by layer, by the module below the prefix, or all."""
    layers: dict[str, int] = {}
    for name in names:
        layers[_layer(name)] = layers.get(_layer(name), 0) + 1
    exact = [f"{_layer(name)}.*" if layers[_layer(name)] > 1 else name for name in names]
    modules = [f"{prefix}{name.removeprefix(prefix).partition('.')[0]}.*" for name in names if "." in name]
    for patterns in (exact, modules if len(modules) == len(names) else ["*"]):
        unique = list(dict.fromkeys(patterns))
        if len(unique) <= MAX_PATTERNS:
            return unique
    return ["*"]


def _layer(name: str) -> str:
    return name.rpartition(".")[0] or name


def _is_head(checkpoint: Checkpoint, name: str) -> bool:
    """Return whether a tensor is a linear weight that reads the features of the network's last layer."""
    shape = checkpoint.raw.tensors[checkpoint.chosen.path(name)].shape
    lasts = ("fc7.weight", "fc6.weight", "conv5b.weight")
    last = next((weight for weight in lasts if weight in checkpoint.tensors), "")
    if not name.endswith(".weight") or len(shape) != 2 or not last or checkpoint.tensors[last].dim() == 0:
        return False
    features = len(checkpoint.tensors[last])
    return shape[1] == features or (last == lasts[-1] and shape[1] % features == 0)
