"""Names of a C3D whose layers have no names but numbers: a `torch.nn.Sequential`, or one for each half.

In a Sequential the numbers are the order of execution, so shapes suffice: eight 3x3x3 convolutions whose channels are
C3D's, each followed at once by a BatchNorm or by none, then up to three linear layers that read one another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from models.checkpoints.layout import Shapes
from models.checkpoints.unnamed_layers import find_base_channels, name_linears
from models.config import BATCH_NORMS, CONVOLUTIONS

_NUMBERED = re.compile(r"(.*\.|)(\d{1,4})\.(weight|bias|running_mean|running_var|num_batches_tracked)")

_Layers = dict[int, dict[str, tuple[int, ...]]]
"""{number: {parameter: shape}} of one Sequential."""


def sequential_names(shapes: Shapes) -> Iterator[dict[str, str]]:
    """Return {the file's name without its prefix: canonical name} for each C3D of numbered layers in a file."""
    groups: dict[str, _Layers] = {}
    for name, shape in shapes.items():
        if found := _NUMBERED.fullmatch(name):
            groups.setdefault(found[1], {}).setdefault(int(found[2]), {})[found[3]] = shape
    seen: list[dict[str, str]] = []
    for prefix, layers in groups.items():
        if (names := _names(prefix, layers, groups)) and names not in seen:
            seen.append(names)
            yield names


def _names(prefix: str, layers: _Layers, groups: Mapping[str, _Layers]) -> dict[str, str] | None:
    """Return the names of the C3D whose convolutions are in the Sequential `prefix`, or None."""
    convs = [number for number in sorted(layers) if len(layers[number].get("weight", ())) == 5]
    base = find_base_channels([layers[number]["weight"] for number in convs])
    if base is None:
        return None
    found = {
        f"{number}.{p}": f"{layer}.{p}"
        for number, layer in zip(convs, CONVOLUTIONS, strict=True)
        for p in layers[number]
    }
    for layer, start, end in zip(CONVOLUTIONS, convs, [*convs[1:], max(layers) + 1], strict=True):
        norms = [number for number in range(start + 1, end) if "running_mean" in layers.get(number, {})]
        if norms and norms[0] != start + 1:
            return None  # a ReLU or a pool lies before the BatchNorm: another network than C3D
        if norms:
            found |= {f"{norms[0]}.{p}": f"{BATCH_NORMS[layer]}.{p}" for p in layers[norms[0]]}
    linears = _linears(layers, 8 * base)
    if linears:
        return found | linears
    parent, own = _split(prefix)
    for other, members in groups.items():
        above, name = _split(other)
        if other != prefix and above == parent and (linears := _linears(members, 8 * base)):
            return {own + key: value for key, value in found.items()} | {
                name + key: value for key, value in linears.items()
            }
    return found


def _split(prefix: str) -> tuple[str, str]:
    """Return the parent's prefix and the Sequential's own part: `model.` and `features.`."""
    head, _, name = prefix.removesuffix(".").rpartition(".")
    return (f"{head}." if head else ""), (f"{name}." if name else "")


def _linears(layers: _Layers, channels: int) -> dict[str, str]:
    """Return the names of the linear layers that read conv5b's channels; {} where there are none, or others."""
    numbers = [number for number in sorted(layers) if len(layers[number].get("weight", ())) == 2]
    names = name_linears([layers[number]["weight"] for number in numbers], channels)
    named = zip(numbers, names, strict=True) if names else ()
    return {f"{number}.{p}": f"{layer}.{p}" for number, layer in named for p in layers[number]}
