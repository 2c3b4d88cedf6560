"""Names that no table knows: `--key-map OLD=NEW`, heads under other names, and the map that the shapes suggest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from models.checkpoints.contents import unwrap
from models.checkpoints.layout import LAYERS, Shapes
from models.checkpoints.unnamed_layers import find_base_channels, gives_classes, name_linears
from models.config import BATCH_NORMS, CONVOLUTIONS
from models.errors import UsageError

PARAMETERS: Mapping[str, str] = {
    **dict.fromkeys(("weight", "kernel", "kernel:0", "W", "param_0"), "weight"),
    **dict.fromkeys(("bias", "bias:0", "b", "param_1"), "bias"),
    **{name: name for name in ("running_mean", "running_var", "num_batches_tracked")},
}
"""{how a file calls a parameter: canonical name}."""

MAX_COMPONENTS = 12
"""More components than any layout's name of a tensor has below a prefix."""

HEADS = ("fc8new", "fc8_new", "fc8-new", "fc_final", "classifier", "linear", "out", "fc", "fc_cls", "head")
"""Names that fine-tuned networks give to fc8. One of them is fc8 where the file has no fc8 and the shape fits."""

CANONICAL_LAYERS = frozenset((*LAYERS, *BATCH_NORMS.values(), "bn6", "bn7"))


@dataclass(frozen=True)
class KeyMap:
    """The names of a file that the user explained: ((the file's layer or tensor, canonical layer or tensor), …)."""

    entries: tuple[tuple[str, str], ...] = ()

    def canonical(self, name: str) -> str | None:
        """Return the canonical name of a tensor that is called `name` below its network's prefix, or None."""
        for theirs, ours in self.entries:
            if name == theirs:
                return ours if is_tensor(ours) else f"{ours}.{PARAMETERS.get(re.split('[./]', name)[-1], 'weight')}"
            if name.startswith((f"{theirs}.", f"{theirs}/")) and not is_tensor(ours):
                parameter = PARAMETERS.get(name[len(theirs) + 1 :])
                return None if parameter is None else f"{ours}.{parameter}"
        return None

    def find(self, names: Iterable[str]) -> dict[str, str]:
        """Return {file's name: canonical name} of the names that the map explains under any prefix."""
        return {name: ours for name in names for _, rest in splits(name) if (ours := self.canonical(rest)) is not None}

    def unused(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the entries whose layer or tensor the file has not."""
        known = list(names)
        return tuple(f"{theirs}={ours}" for theirs, ours in self.entries if not KeyMap(((theirs, ours),)).find(known))


def is_tensor(canonical: str) -> bool:
    """Return whether a canonical name is a tensor's, not a layer's."""
    return "." in canonical


def is_canonical(name: str) -> bool:
    """Return whether the network has a layer or tensor of this name."""
    layer, _, parameter = name.partition(".")
    return layer in CANONICAL_LAYERS and parameter in ("", *PARAMETERS.values())


def parse_key_map(texts: Sequence[str]) -> KeyMap:
    """Return the map that `OLD=NEW` entries state: OLD is a name of the file, NEW the network's.

    Where only OLD is a name of the network (`fc8=regressor`), the entry is read the other way round.

    Raises:
        UsageError: no such form, or neither side is a name of the network.
    """
    entries: list[tuple[str, str]] = []
    for text in texts:
        theirs, separator, ours = (part.strip() for part in text.partition("="))
        if not is_canonical(ours) and is_canonical(theirs):
            theirs, ours = ours, theirs
        if not (separator and theirs and is_canonical(ours)):
            raise UsageError(
                f"--key-map {text}: write OLD=NEW: a layer or tensor of the file, and its name in the network, which "
                f"is one of {', '.join(LAYERS)} (or {next(iter(BATCH_NORMS.values()))}, …)"
            )
        entries.append((unwrap(f"{theirs}.").removesuffix("."), ours))
    return KeyMap(tuple(entries))


def splits(name: str) -> Iterator[tuple[str, str]]:
    """Return the ways to split a name into a prefix, which ends with a dot or a slash, and a rest.

    The rest is the whole name, or its last `MAX_COMPONENTS` components or fewer.
    """
    yield "", name
    position = len(name)
    for _ in range(MAX_COMPONENTS):
        position = max(name.rfind(".", 0, position), name.rfind("/", 0, position))
        if position < 0:
            return
        yield name[: position + 1], name[position + 1 :]


def find_head(shapes: Shapes, prefix: str, features: int | None, *, flat: bool) -> dict[str, str]:
    """Return {file's name: canonical name} of a linear layer that is fc8 under another usual name; {} if none is.

    Args:
        shapes: {tensor name: shape} of the file.
        prefix: the network's prefix.
        features: outputs of the last layer before fc8; None where the file does not show them.
        flat: that layer is conv5b, of whose outputs fc8 may read many positions, as fc6 does.
    """

    def reads(shape: tuple[int, ...]) -> bool:
        if not features or features == shape[1]:
            return True
        return flat and shape[1] % features == 0 and gives_classes(shape[0])

    heads = [head for head in HEADS if len(shape := shapes.get(f"{prefix}{head}.weight", ())) == 2 and reads(shape)]
    if len(heads) != 1:
        return {}
    names = (f"{heads[0]}.{parameter}" for parameter in ("weight", "bias"))
    return {prefix + name: f"fc8.{name.rpartition('.')[2]}" for name in names if prefix + name in shapes}


def suggest_key_map(shapes: Shapes) -> tuple[str, ...]:
    """Return the `OLD=NEW` entries under which a file would be a C3D, where its shapes match one to one; () otherwise.

    The file's weights are taken in its order, which is the order in which the layers were defined.
    """
    parts = {
        tuple(name.split(".")[:-1]): shape
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) in (2, 5)
    }
    shared = 0  # components that all names begin with: the key and the prefix
    while parts and len({layer[: shared + 1] for layer in parts}) == 1 and all(len(n) > shared + 1 for n in parts):
        shared += 1
    weights = {".".join(layer[shared:]): shape for layer, shape in parts.items()}
    kernels = {name: shape for name, shape in weights.items() if len(shape) == 5}
    linears = {name: shape for name, shape in weights.items() if len(shape) == 2}
    base = find_base_channels([*kernels.values()])
    norms = _find_norms(shapes, shared, [shape[0] for shape in kernels.values()])
    if base is None or norms is None:
        return ()
    named = name_linears([*linears.values()], 8 * base)
    layers = zip((*kernels, *linears), (*CONVOLUTIONS, *named), strict=True) if named else ()
    norm_layers = zip(norms, BATCH_NORMS.values(), strict=True) if norms and named else ()
    return tuple(f"{theirs}={ours}" for theirs, ours in (*layers, *norm_layers) if theirs != ours)


def _find_norms(shapes: Shapes, shared: int, channels: Sequence[int]) -> tuple[str, ...] | None:
    """Return the BatchNorm layers of a file in its order, where it has one for each convolution, or none at all."""
    norms = {
        ".".join(name.split(".")[shared:-1]): shape for name, shape in shapes.items() if name.endswith(".running_mean")
    }
    return tuple(norms) if not norms or [shape[:1] for shape in norms.values()] == [(n,) for n in channels] else None
