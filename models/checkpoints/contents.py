"""What a reader found in a file, as plain data, and every tensor in it by its path.

Training scripts nest a network's tensors in many ways: under `state_dict`, in a list beside the optimizer, one dict for
each module. `flatten` gives each tensor the path at which it is, `model.ema.conv1.weight`, and detection looks for
C3D's names at the end of the paths. So a key of the file and a prefix of its names are found in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from models.checkpoints.file_tensor import FileTensor

MAX_TENSORS = 10_000
"""More than any network's checkpoint holds, its optimiser's included."""

MAX_DEPTH = 100
"""Levels of containers that are searched: a pickled module takes two for each of its own levels."""

MAX_ALIASES = 1_000
"""Places at which containers are met again that are recorded."""

MAX_KEY_LENGTH = 200
"""Characters of a key that a path shows; of a longer one also how many it has."""

_MODULE_TABLES = frozenset({"_modules", "_parameters", "_buffers"})
"""Where a pickled `torch.nn.Module` keeps its parts; its state_dict has no such names."""

WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module")
"""Modules that torch puts around others at any level: torch.compile, FSDP in two versions, activation checkpointing."""
COMPILED = "torch._dynamo.eval_frame.OptimizedModule"
"""The class around a compiled module that was pickled whole: the module is its first argument."""
_WRAPPED = re.compile(rf"(^|(?<=\.))({'|'.join(WRAPPERS)})\.")

TENSOR_CALLS = ("torch._utils._rebuild_",)
"""Functions that make one tensor of several (sparse, quantised): what they are given is not the file's own tensors."""


def unwrap(path: str) -> str:
    """Return a name without the wrappers around modules in it: `conv1._orig_mod.weight` is `conv1.weight`."""
    return _WRAPPED.sub("", path)


@dataclass(eq=False, repr=False)
class NotBuilt:
    """An object of a class that is not a checkpoint's own: a record of it, because nothing of a file is executed.

    Attributes:
        name: `module.qualname` of its class or function, such as `argparse.Namespace`.
        parts: its arguments and its state, as far as the file has them.
    """

    name: str
    parts: list[object] = field(default_factory=list[object])

    def __repr__(self) -> str:
        """Return its name only: its parts may refer to one another a billion times."""
        return f"NotBuilt({self.name!r})"


_SEARCHED = (FileTensor, Mapping, list, tuple, NotBuilt)


@dataclass(frozen=True)
class TensorTree:
    """Every tensor of a file, by its path.

    Attributes:
        tensors: {path: tensor}, the components joined by dots, in the order of the file. `WRAPPERS` are left
            out of all paths.
        containers: the paths of all dicts, lists and tuples that hold one of them; "" is the top.
        unbuilt: {path: name} of objects that were not built: of what stands where a tensor could.
        aliases: {path: further paths} of containers that the file holds under several keys.
    """

    tensors: dict[str, FileTensor]
    containers: frozenset[str]
    unbuilt: dict[str, str] = field(default_factory=dict[str, str])
    aliases: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def same_as(self, key: str) -> tuple[str, ...]:
        """Return the further paths of the container at `key`, which it has because a container around it has them."""
        return tuple(
            other + key[len(path) :]
            for path, others in self.aliases.items()
            if key == path or key.startswith(f"{path}.")
            for other in others
        )

    def split(self, prefix: str) -> tuple[str, str]:
        """Return the key of the innermost container that a prefix of paths lies in, and the rest of the prefix."""
        inside = [path for path in self.containers if path and prefix.startswith(f"{path}.")]
        key = max(inside, key=len, default="")
        return key, prefix[len(key) + 1 :] if key else prefix


@dataclass(eq=False, slots=True)
class _Entry:
    """A place in the tree. Its path is built only where something is found, so that a deep tree costs no memory."""

    node: object
    key: object = None
    parent: _Entry | None = None
    depth: int = 0
    named: bool = False

    def below(self, key: object, node: object, *, named: bool = True) -> _Entry:
        return _Entry(node, key, self, self.depth + 1, named)

    def paths(self) -> list[str]:
        """Return the paths of this place and of all containers that it is in, innermost first."""
        chain: list[_Entry] = [self]
        while (parent := chain[-1].parent) is not None:
            chain.append(parent)
        paths = [""]
        for entry in reversed(chain):
            paths.append(_join(paths[-1], entry.key) if entry.named else paths[-1])
        return [unwrap(f"{path}.").removesuffix(".") for path in reversed(paths)]


def flatten(content: object) -> TensorTree:
    """Return every tensor in a tree of dicts, lists, tuples and `NotBuilt` objects.

    A container that is met again is recorded, and not searched, as are those deeper than `MAX_DEPTH`; the search ends
    with the tensor after `MAX_TENSORS`, for the caller to refuse.
    """
    tensors: dict[str, FileTensor] = {}
    unbuilt: dict[str, str] = {}
    containers: set[str] = {""}
    twins: dict[str, int] = {}
    seen: dict[int, _Entry] = {}
    again: list[_Entry] = []
    waiting = [_Entry(content)]
    while waiting and len(tensors) <= MAX_TENSORS:
        entry = waiting.pop()
        node = entry.node
        if isinstance(node, FileTensor):
            path, *around = entry.paths()
            tensors[_unused(path, tensors, twins)] = node
            containers.update(around)
        elif isinstance(node, _SEARCHED) and id(node) not in seen and entry.depth <= MAX_DEPTH:
            seen[id(node)] = entry
            if isinstance(node, NotBuilt):
                if len(unbuilt) < MAX_TENSORS:
                    unbuilt[entry.paths()[0]] = node.name
                if node.name.startswith(TENSOR_CALLS):
                    continue
            # an entry takes the place of its container, so that tensors keep the order of the file
            waiting.extend(reversed(list(_entries(entry, cast("Any", node)))))
        elif id(node) in seen and entry.depth <= MAX_DEPTH and len(again) < MAX_ALIASES:
            again.append(entry)
    return TensorTree(tensors, frozenset(containers), unbuilt, _find_aliases(again, seen, containers))


def _find_aliases(again: list[_Entry], seen: Mapping[int, _Entry], containers: set[str]) -> dict[str, list[str]]:
    """Return {path: further paths} of the containers of tensors that were met again, outside themselves."""
    aliases: dict[str, list[str]] = {}
    for entry in again:
        path, other = seen[id(entry.node)].paths()[0], entry.paths()[0]
        if path in containers and path != other and not f"{other}.".startswith(f"{path}." if path else ""):
            aliases.setdefault(path, []).append(other)
    return aliases


def _entries(entry: _Entry, node: Any) -> Iterator[_Entry]:
    """Return the entries of a container that may hold tensors."""
    if isinstance(node, NotBuilt):
        for index, part in enumerate(node.parts):  # a dict is the object's attributes: they are the object's own
            if isinstance(part, _SEARCHED):
                yield entry.below(index, part, named=not isinstance(part, Mapping) and node.name != COMPILED)
        return
    pairs = cast("Iterator[tuple[object, object]]", node.items() if isinstance(node, Mapping) else enumerate(node))
    for key, value in pairs:
        if isinstance(value, _SEARCHED):
            table = isinstance(key, str) and key in _MODULE_TABLES and isinstance(value, Mapping)
            yield entry.below(key, cast("object", value), named=not table)


def _join(path: str, key: object) -> str:
    if isinstance(key, bytes):  # Python 2's strings, where Python 3 read and wrote them again
        key = key.decode("utf-8", "backslashreplace")
    name = str(key) if isinstance(key, (str, int, float)) else f"<{type(key).__name__}>"
    name = name if len(name) <= MAX_KEY_LENGTH else f"{name[:MAX_KEY_LENGTH]}…({len(name):,} characters)"
    return f"{path}.{name}" if path else name


def _unused(path: str, tensors: Mapping[str, FileTensor], twins: dict[str, int]) -> str:
    """Return a path that no tensor has: two keys may look the same. `twins` counts the ones that did so far."""
    name = path
    while name in tensors:
        twins[path] = twins.get(path, 1) + 1
        name = f"{path}#{twins[path]}"
    return name
