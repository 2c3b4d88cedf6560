"""Find the networks in a file by the names and shapes of its tensors: which layout, under which prefix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from models.checkpoints.layouts import LAYERS, LAYOUTS, Layout
from models.config import CONVOLUTIONS
from models.errors import UsageError

MIN_MATCHED_LAYERS = len(LAYERS) // 2 + 1
"""A layout matches a file that uses the layout's names for more than half of C3D's layers."""

WEIGHTS = frozenset(f"{layer}.weight" for layer in LAYERS)
CONVOLUTION_WEIGHTS = frozenset(f"{layer}.weight" for layer in CONVOLUTIONS)

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class LayoutMatch:
    """A layout that matches tensors of a file.

    Attributes:
        layout: the layout that matches.
        prefix: the prefix of the tensor names in this file: `state_dict.module.`, `model_weights/`, ….
        weights: {canonical name: the file's name} of C3D's weights that the file has under the layout's names.
        matched_shapes: number of those that also have the layout's axes.
    """

    layout: Layout
    prefix: str
    weights: Mapping[str, str]
    matched_shapes: int

    @property
    def score(self) -> tuple[int, int]:
        """How well it matches: weights with the layout's axes, then weights with its names."""
        return self.matched_shapes, len(self.weights)

    @property
    def fits(self) -> bool:
        """Whether every weight that has the layout's name has its axes, too, and no convolution is missing."""
        return self.matched_shapes == len(self.weights) and self.weights.keys() >= CONVOLUTION_WEIGHTS

    def canonical(self, name: str) -> str | None:
        """Return the network's name of a file's tensor, or None if the layout has no such tensor."""
        return self.layout.names.get(name.removeprefix(self.prefix)) if name.startswith(self.prefix) else None


def select_layouts(name: str) -> tuple[Layout, ...]:
    """Return the rows that `--layout` selects: all for `auto`.

    Raises:
        UsageError: no such layout.
    """
    rows = tuple(row for row in LAYOUTS if name in ("auto", row.name))
    if not rows:
        raise UsageError(f"unknown layout {name!r}; known are auto, {', '.join(row.name for row in LAYOUTS)}")
    return rows


def detect_networks(shapes: Shapes, rows: Iterable[Layout] = LAYOUTS) -> tuple[tuple[LayoutMatch, ...], ...]:
    """Return the networks in a file, best first: for each the layouts that match its tensors equally well.

    Two matches that share a tensor are one network, seen under two layouts or prefixes.
    """
    matches = sorted(
        (match for row in rows for match in match_layout(shapes, row)), key=lambda m: m.score, reverse=True
    )
    networks: list[tuple[set[str], list[LayoutMatch]]] = []
    for match in matches:
        names = set(match.weights.values())
        shared = next((network for network in networks if network[0] & names), None)
        if shared is None:
            networks.append((names, [match]))
        elif match.score == shared[1][0].score:
            shared[1].append(match)
    return tuple(tuple(network) for _, network in networks)


def match_layout(shapes: Shapes, layout: Layout) -> tuple[LayoutMatch, ...]:
    """Return how `layout` matches the tensors of a file, once for each prefix under which enough layers have its names.

    A prefix ends with a dot or a slash.
    """
    found: dict[str, dict[str, str]] = {}
    for name in shapes:
        for prefix, ending in _splits(name):
            canonical = layout.names.get(ending)
            if canonical in WEIGHTS:
                found.setdefault(prefix, {}).setdefault(canonical, name)
    return tuple(
        LayoutMatch(
            layout,
            prefix,
            weights,
            sum(layout.matches(canonical, shapes[name]) for canonical, name in weights.items()),
        )
        for prefix, weights in found.items()
        if len(weights) >= MIN_MATCHED_LAYERS
    )


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Return the ways to split a name into a prefix and a rest."""
    yield "", name
    for position, character in enumerate(name, 1):
        if character in "./":
            yield name[:position], name[position:]
