"""Refusals of files whose weights only a call of something foreign would make, and of files without known weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from models.checkpoints.contents import TENSOR_CALLS, NotBuilt
from models.checkpoints.key_map import suggest_key_map
from models.checkpoints.layout import Shapes
from models.checkpoints.pickles.values import printable
from models.checkpoints.selection import OPTIMIZER
from models.errors import CheckpointError, count, join_limited

if TYPE_CHECKING:
    from models.checkpoints.readers.base import ReadResult

WEIGHT = re.compile(r"(^|[./])(weight|bias|W|b|kernel|running_mean|running_var)$")
"""Names of a layer's values in any framework."""

PARAMETRIZED = re.compile(r"\.(weight|bias)_(g|v|u|orig|mask)$|\.parametrizations\.")
"""Names of the parts from which torch.nn.utils computes a weight."""
REMOVE_PARTS = (
    "weight norm, spectral norm or pruning keeps a weight in such parts: where it was made, call "
    "torch.nn.utils.remove_weight_norm, remove_spectral_norm, prune.remove or parametrize.remove_parametrizations on "
    "the layer, and save it again"
)


def check_unbuilt_weights(raw: ReadResult) -> None:
    """Refuse a file in which the call of something foreign stands where a weight should.

    Raises:
        CheckpointError: there is such a weight; the message names it and what is not called.
    """
    _refuse({name: made_by for name, made_by in raw.contents.unbuilt.items() if WEIGHT.search(name)})


def check_unbuilt_layers(raw: ReadResult, prefix: str, ignored: Callable[[str], bool]) -> None:
    """Refuse a file with a tensor under the network's prefix that only a foreign call makes: it may be a layer.

    Args:
        raw: what the file holds.
        prefix: the prefix of the network's tensors, its key included.
        ignored: whether `--ignore` leaves a tensor out.

    Raises:
        CheckpointError: there is such a tensor; the message names it and what is not called.
    """
    _refuse(
        {
            name: made_by
            for name, made_by in raw.contents.unbuilt.items()
            if name.startswith(prefix) and made_by.startswith(TENSOR_CALLS) and not ignored(name)
        },
    )


def require_tensors(raw: ReadResult) -> ReadResult:
    """Return what a reader found in a pickle.

    Raises:
        CheckpointError: no tensors; the message says what it holds instead.
    """
    if not raw.tensors:
        check_unbuilt_weights(raw)
        raise CheckpointError(describe_empty(raw))
    return raw


def _refuse(weights: Mapping[str, str]) -> None:
    if weights:
        name, made_by = next(iter(weights.items()))
        more = f", {count(len(weights) - 1, 'other tensor')} likewise" if len(weights) > 1 else ""
        raise CheckpointError(
            f"{printable(name)} is made by calling {made_by}, and functions that a file names are "
            f"never called{more}; "
            "where it was made, save plain tensors (value.to_dense() if sparse, value.dequantize() if quantised)"
        )


def describe_empty(raw: ReadResult) -> str:
    """Return what a file without tensors holds instead."""
    content = raw.content
    kind = content.name if isinstance(content, NotBuilt) else f"a {type(content).__name__}"
    keys = ""
    if isinstance(content, Mapping):
        keys = join_limited(printable(str(key)) for key in cast("Mapping[Any, Any]", content))
    hazards = f"; it contains {join_limited(raw.hazards)}, not executed" if raw.hazards else ""
    return f"holds {kind}{f' with the keys {keys}' if keys else ''}, but no tensors{hazards}"


def describe_unknown(shapes: Shapes, layout: str) -> str:
    """Return what a file holds that has no names of `layout`, with the key map that its shapes suggest."""
    weights = {name: shape for name, shape in shapes.items() if not OPTIMIZER.search(name)}
    if layout == "auto" and (suggested := suggest_key_map(weights)):
        options = " ".join(f"--key-map {entry}" for entry in suggested)
        return f"its names are not known, but its shapes are a C3D's in this order: if it is one, give {options}"
    parts = [f"{name} {shape}" for name, shape in shapes.items() if PARAMETRIZED.search(name)]
    if parts:
        return f"its weights are in parts: {join_limited(parts, 4)}; {REMOVE_PARTS}"
    examples: Sequence[str] = [f"{name} {shape}" for name, shape in shapes.items()]
    wanted = "any known C3D layout" if layout == "auto" else f"the layout {layout}"
    return f"its tensors are not those of {wanted}; it has {join_limited(examples, 4)}"
