"""What a reader found in a file, as plain data, and every tensor in it by its path.

Training scripts nest a network's tensors in many ways: under `state_dict`, in a list beside the optimizer, one dict for
each module. `flatten` gives each tensor the path at which it is, `model.ema.conv1.weight`, and detection looks for
C3D's names at the end of the paths. So a key of the file and a prefix of its names are found in the same way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from torch import Tensor

MAX_TENSORS = 10_000
"""More than any network's checkpoint holds, its optimiser's included."""

MAX_DEPTH = 100
"""Levels of containers that are searched: a pickled module takes two for each of its own levels."""

MAX_KEY_LENGTH = 200
"""Characters of a key that a path shows."""

_MODULE_TABLES = frozenset({"_modules", "_parameters", "_buffers"})
"""Where a pickled `torch.nn.Module` keeps its parts; its state_dict has no such names."""


@dataclass(eq=False)
class NotBuilt:
    """An object of a class that is not a checkpoint's own: a record of it, because nothing of a file is executed.

    Attributes:
        name: `module.qualname` of its class or function, such as `argparse.Namespace`.
        parts: its arguments and its state, as far as the file has them.
    """

    name: str
    parts: list[object] = field(default_factory=list[object])


@dataclass(frozen=True)
class Contents:
    """Every tensor of a file, by its path.

    Attributes:
        tensors: {path: tensor}, the components joined by dots, in the order of the file.
        containers: the paths of all dicts, lists and tuples that were searched; "" is the top.
    """

    tensors: dict[str, Tensor]
    containers: frozenset[str]

    def split(self, prefix: str) -> tuple[str, str]:
        """Return the key of the innermost container that a prefix of paths lies in, and the rest of the prefix."""
        inside = [path for path in self.containers if path and prefix.startswith(f"{path}.")]
        key = max(inside, key=len, default="")
        return key, prefix[len(key) + 1 :] if key else prefix


def flatten(content: object) -> Contents:
    """Return every tensor in a tree of dicts, lists, tuples and `NotBuilt` objects.

    A container that is met again, or lies deeper than `MAX_DEPTH`, is not searched; the search ends with the tensor
    after `MAX_TENSORS`, for the caller to refuse.
    """
    tensors: dict[str, Tensor] = {}
    containers: set[str] = set()
    seen: set[int] = set()
    waiting: deque[tuple[str, object, int]] = deque([("", content, 0)])
    while waiting and len(tensors) <= MAX_TENSORS:
        path, node, depth = waiting.popleft()
        if isinstance(node, Tensor):
            tensors[_unused(path, tensors)] = node
        elif isinstance(node, (Mapping, list, tuple, NotBuilt)) and id(node) not in seen and depth <= MAX_DEPTH:
            seen.add(id(node))  # pyright: ignore[reportUnknownArgumentType]
            containers.add(path)
            entries = _entries(path, cast("Any", node), depth)
            # an entry takes the place of its container, so that tensors keep the order of the file
            waiting.extendleft(reversed(list(entries)))
    return Contents(tensors, frozenset(containers))


def _entries(path: str, node: Any, depth: int) -> Iterator[tuple[str, object, int]]:
    """Return (path, value, depth) of a container's entries that may hold tensors."""
    if isinstance(node, NotBuilt):
        for index, part in enumerate(node.parts):  # a dict is the object's attributes: they are the object's own
            yield path if isinstance(part, Mapping) else _join(path, index), cast("object", part), depth + 1
        return
    pairs = cast("Iterator[tuple[object, object]]", node.items() if isinstance(node, Mapping) else enumerate(node))
    for key, value in pairs:
        if isinstance(value, (Tensor, Mapping, list, tuple, NotBuilt)):
            below = path if key in _MODULE_TABLES and isinstance(value, Mapping) else _join(path, key)
            yield below, cast("object", value), depth + 1


def _join(path: str, key: object) -> str:
    name = str(key) if isinstance(key, (str, int, float)) else f"<{type(key).__name__}>"
    name = name if len(name) <= MAX_KEY_LENGTH else f"{name[:MAX_KEY_LENGTH]}…"
    return f"{path}.{name}" if path else name


def _unused(path: str, tensors: Mapping[str, Tensor]) -> str:
    """Return a path that no tensor has: two keys may look the same."""
    if path not in tensors:
        return path
    return next(name for n in range(2, MAX_TENSORS + 3) if (name := f"{path}#{n}") not in tensors)
