"""The pool5 convention of a pickled `torch.nn.Module`, from the attributes of its module `pool5`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from models.checkpoints.contents import COMPILED, MAX_DEPTH, WRAPPERS, NotBuilt
from models.pooling import Pool5

_INDEX = re.compile("[0-9]{1,9}")
MAX_POOL = "torch.nn.modules.pooling.MaxPool3d"


def find_pool5(content: object, prefix: str) -> Pool5 | None:
    """Return the convention of the module `pool5` of a pickled network; None where it has none, or another one.

    Args:
        content: what a file holds.
        prefix: of the network's names, such as `model.module.`.
    """
    node = content
    for name in [*prefix.removesuffix(".").split("."), "pool5"] if prefix else ["pool5"]:
        node = _member(_unwrap(node), name)
    node = _unwrap(node)
    if not isinstance(node, NotBuilt) or node.name != MAX_POOL:
        return None
    kernel, stride, padding, ceil = (_member(node, name) for name in ("kernel_size", "stride", "padding", "ceil_mode"))
    return pool5_convention(as_triple(kernel), as_triple(stride), as_triple(padding), ceil)


def pool5_convention(kernel: object, stride: object, padding: object, ceil: object) -> Pool5 | None:
    """Return the convention of a max pool over (time, height, width); None where it is neither of the two.

    Args:
        kernel: sizes of its windows, a tuple of three, as the next two.
        stride: their steps.
        padding: added to both sides of each axis.
        ceil: whether windows that reach over the end count.
    """
    if kernel != (2, 2, 2) or stride != (2, 2, 2):
        return None
    if padding == (0, 1, 1) and ceil is False:
        return "symmetric"
    return "right" if padding == (0, 0, 0) and ceil is True else None


def as_triple(size: object) -> object:
    """Return sizes of three axes as a tuple, whether they are one number or a list; None for something else."""
    if isinstance(size, int):
        return (size,) * 3
    return tuple(cast("list[object]", size)) if isinstance(size, (list, tuple)) else None


def _unwrap(node: object) -> object:
    """Return the module in the wrappers around it; whatever else it is."""
    for _ in range(MAX_DEPTH):
        if isinstance(node, NotBuilt) and node.name == COMPILED and node.parts:
            inner = node.parts[0]
        else:
            inner = next((found for name in WRAPPERS if (found := _member(node, name)) is not None), None)
        if inner is None:
            break
        node = inner
    return node


def _member(node: object, name: str) -> object:
    """Return the entry, attribute or submodule of this name; None where there is none."""
    tables = [part for part in node.parts if isinstance(part, Mapping)] if isinstance(node, NotBuilt) else [node]
    for table in tables:
        if isinstance(table, Mapping):
            entries = cast("Mapping[Any, object]", table)
            modules = entries.get("_modules")
            if name in entries:
                return entries[name]
            if isinstance(modules, Mapping) and name in modules:
                return cast("Mapping[Any, object]", modules)[name]
        elif isinstance(table, (list, tuple)) and _INDEX.fullmatch(name) and int(name) < len(table):
            return cast("object", table[int(name)])
    return None
