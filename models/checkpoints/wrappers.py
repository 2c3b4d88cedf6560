"""What a training script writes beside the weights, where it proves which script wrote the file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

from models.checkpoints.layout import LAYERS

HEAD_TENSORS = 2
"""fc8's weight and bias."""


def is_jfzhang95_training(content: object) -> bool:
    """Return whether train.py of jfzhang95/pytorch-video-recognition wrote a file.

    Three things together are taken for proof. The file's keys are `epoch`, `state_dict` and `opt_dict` and no other;
    `opt_dict` is the usual name of nothing else. The optimizer has two groups of parameters: all layers but fc8, and
    fc8. The learning rate of fc8's is ten times that of the others, which its schedule never changes.

    Args:
        content: what a reader of checkpoints returned.
    """
    if not isinstance(content, Mapping):
        return False
    members = cast("Mapping[object, object]", content)
    if set(members) != {"epoch", "state_dict", "opt_dict"}:
        return False
    groups = _get(members["opt_dict"], "param_groups")
    if not isinstance(groups, Sequence) or len(groups) != 2:
        return False
    counts = tuple(_length(_get(group, "params")) for group in groups)
    rates = tuple(_get(group, "lr") for group in groups)
    if counts != (2 * len(LAYERS) - HEAD_TENSORS, HEAD_TENSORS):
        return False
    return all(isinstance(rate, float) for rate in rates) and math.isclose(
        cast("float", rates[1]), 10 * cast("float", rates[0]), rel_tol=1e-6
    )


def _get(mapping: object, key: str) -> object:
    return cast("Mapping[object, object]", mapping).get(key) if isinstance(mapping, Mapping) else None


def _length(values: object) -> int:
    return len(cast("Sequence[object]", values)) if isinstance(values, list | tuple) else -1
