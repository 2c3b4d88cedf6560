"""Find the networks in a file by the names and shapes of its tensors: which layout, under which prefix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from models.checkpoints.automatic_names import find_automatic_names
from models.checkpoints.key_map import KeyMap, find_head, splits
from models.checkpoints.layout import LAYERS, LINEARS, SEQUENTIAL, Layout, Shapes
from models.checkpoints.layout_names import KERAS
from models.checkpoints.layouts import LAYOUTS
from models.checkpoints.sequential import sequential_names
from models.config import CONVOLUTIONS
from models.errors import UsageError, did_you_mean

MIN_MATCHED_LAYERS = len(LAYERS) // 2 + 1
"""A layout matches a file that uses the layout's names for more than half of C3D's layers."""

NO_KEY_MAP = KeyMap()

CLASSIFIER_WEIGHT = "fc8.weight"

WEIGHTS = frozenset(f"{layer}.weight" for layer in LAYERS)
CONVOLUTION_WEIGHTS = frozenset(f"{layer}.weight" for layer in CONVOLUTIONS)

Endings = dict[str, list[str]]
Explained = dict[str, dict[str, str]]
"""{prefix: {the file's name: canonical name}}."""


@dataclass(frozen=True)
class LayoutMatch:
    """A layout that matches tensors of a file.

    Attributes:
        layout: the layout that matches.
        prefix: the prefix of the tensor names in this file: `state_dict.module.`, `model_weights/`, ….
        weights: {canonical name: the file's name} of C3D's weights that the file has under the layout's names.
        mapped: {the file's name: canonical name} of tensors that the layout calls otherwise: those that the user
            explained, and a head under another usual name.
        matched_shapes: number of the weights that also have the layout's axes.
        matched_biases: number of the linear weights whose outputs, by the layout's axes, are as many as their biases.
        own_names: number of the weights under the layout's own names.
    """

    layout: Layout
    prefix: str
    weights: Mapping[str, str]
    mapped: Mapping[str, str]
    matched_shapes: int
    matched_biases: int
    own_names: int

    @property
    def score(self) -> tuple[int, int, int, int]:
        """How well it matches: weights with the layout's axes, known weights, biases, names that are its own."""
        return self.matched_shapes, len(self.weights), self.matched_biases, self.own_names

    @property
    def fits(self) -> bool:
        """Whether every weight that has the layout's name has its axes, too, and no convolution is missing."""
        return self.matched_shapes == len(self.weights) and self.weights.keys() >= CONVOLUTION_WEIGHTS

    def num_classes(self, shapes: Shapes) -> int:
        """Return fc8's outputs; 0 where the file has no fc8 under the layout's name."""
        shape = shapes.get(self.weights.get(CLASSIFIER_WEIGHT, ""), ())
        if len(shape) < 2:
            return 0
        return shape[-2] if self.layout.linear_axes == "OI" else shape[-1]

    def canonical(self, name: str) -> str | None:
        """Return the network's name of a file's tensor, or None if the layout has no such tensor."""
        if name in self.mapped:
            return self.mapped[name]
        own = self.layout.names.get(name.removeprefix(self.prefix)) if name.startswith(self.prefix) else None
        return None if own in self.mapped.values() else own


def select_layouts(name: str) -> tuple[Layout, ...]:
    """Return the rows that `--layout` selects: all for `auto`.

    Raises:
        UsageError: no such layout.
    """
    rows = tuple(row for row in LAYOUTS if name in ("auto", row.name))
    if not rows:
        known = ["auto", *(row.name for row in LAYOUTS)]
        raise UsageError(f"unknown layout {name!r}; known are {', '.join(known)}{did_you_mean(name, known)}")
    return rows


def detect_networks(
    shapes: Shapes,
    rows: Sequence[Layout] = LAYOUTS,
    container: str = "",
    key_map: KeyMap = NO_KEY_MAP,
    content: object = None,
) -> tuple[tuple[LayoutMatch, ...], ...]:
    """Return the networks in a file, best first: for each the layouts that match its tensors equally well.

    Two matches that share a tensor are one network, seen under two layouts or prefixes. Of several rows, one that the
    container and the class count prove is preferred to one that states nothing, and that to one that is disproved.

    Args:
        shapes: {tensor name: shape} of the file.
        rows: the layouts to look for; one alone is the user's statement, which needs no proof.
        container: the file format.
        key_map: names of the file that the user explained.
        content: everything in the file, as its reader returned it.
    """
    endings = index_endings(shapes)
    explained = _explain(endings, key_map)
    found = (match for row in _with_numbers(shapes, rows) for match in _match_layout(shapes, row, endings, explained))
    owners: dict[str, list[LayoutMatch]] = {}  # {convolution: the matches of its network}
    networks: list[list[LayoutMatch]] = []
    for match in sorted(found, key=lambda match: match.score, reverse=True):
        names = [match.weights[conv] for conv in CONVOLUTION_WEIGHTS if conv in match.weights]
        network = next((owners[name] for name in names if name in owners), None)
        if network is None:
            network = []
            networks.append(network)
        if not network or match.score == network[0].score:
            network.append(match)
            owners |= dict.fromkeys(names, network)
    return tuple(_select_most_proven(network, shapes, container, content) for network in networks)


def index_endings(shapes: Shapes) -> Endings:
    """Return {ending: prefixes} of all ways to split the names of a file."""
    found: Endings = {}
    for name in shapes:
        for prefix, ending in splits(name):
            found.setdefault(ending, []).append(prefix)
    return found


def _explain(endings: Endings, key_map: KeyMap) -> Explained:
    """Return the names that the user explained, by the prefix under which they have the name that the user gave."""
    found: Explained = {}
    for ending, prefixes in endings.items() if key_map.entries else ():
        if (canonical := key_map.canonical(ending)) is not None:
            for prefix in prefixes:
                found.setdefault(prefix, {})[prefix + ending] = canonical
    return found


def _with_numbers(shapes: Shapes, rows: Iterable[Layout]) -> Iterator[Layout]:
    """Return the rows; the one of numbered layers once for each order of numbers that the file has.

    Keras's rows have the names that Keras gave the file's layers, too.
    """
    for row in rows:
        if row.name == SEQUENTIAL:
            yield from (replace(row, names=names) for names in sequential_names(shapes))
        elif row.names is KERAS and (automatic := find_automatic_names(shapes)):
            yield replace(row, names={**row.names, **automatic})
        else:
            yield row


def _select_most_proven(
    matches: list[LayoutMatch], shapes: Shapes, container: str, content: object
) -> tuple[LayoutMatch, ...]:
    """Return the match whose row is proven best: a named origin, then any names, then numbers, then the rest.

    Of equal ones it is the first of the table, which states the least. Rows that only the user can distinguish stay
    together.
    """
    if any(match.layout.disambiguation for match in matches):
        return tuple(matches)
    ranks: list[int] = []
    for match in matches:
        proven = match.layout.is_proven(container, match.num_classes(shapes), content)
        ranks.append((1 if match.layout.name == SEQUENTIAL else 3 if match.layout.is_specific else 2) * proven)
    return (matches[ranks.index(max(ranks))],)


def _match_layout(shapes: Shapes, layout: Layout, endings: Endings, explained: Explained) -> tuple[LayoutMatch, ...]:
    """Return how `layout` matches the tensors of a file, once for each prefix under which enough layers have its names.

    A prefix ends with a dot or a slash. A file all of whose names the user explained has the first layout.
    """
    found: dict[str, dict[str, str]] = {}
    mapped = {name for group in explained.values() for name in group}
    for ending, canonical in layout.names.items():
        for prefix in endings.get(ending, ()) if canonical in WEIGHTS else ():
            if prefix + ending not in mapped:
                found.setdefault(prefix, {}).setdefault(canonical, prefix + ending)
    if layout is LAYOUTS[0]:
        found |= {prefix: {} for prefix in explained if prefix not in found}
    # a network takes a layer from beside it, not one of another network
    beside = [group for place, group in explained.items() if len(found.get(place, ())) < MIN_MATCHED_LAYERS]
    anywhere = {name: canonical for group in beside for name, canonical in group.items()}
    matches = (_match(shapes, layout, prefix, own, explained.get(prefix) or anywhere) for prefix, own in found.items())
    return tuple(match for match in matches if len(match.weights) >= MIN_MATCHED_LAYERS)


def _match(
    shapes: Shapes, layout: Layout, prefix: str, own: Mapping[str, str], explained: Mapping[str, str]
) -> LayoutMatch:
    """Return the match of a prefix: the names that the user explained go before the layout's own."""
    weights = {**own, **{canonical: name for name, canonical in explained.items() if canonical in WEIGHTS}}
    head: dict[str, str] = {}
    if CLASSIFIER_WEIGHT not in weights and layout.linear_axes == "OI":
        flat = not any(f"{layer}.weight" in weights for layer in LINEARS)
        head = find_head(shapes, prefix, _features(shapes, weights), flat=flat)
        weights |= {canonical: name for name, canonical in head.items() if canonical in WEIGHTS}
    fitting = sum(layout.matches(canonical, shapes[name]) for canonical, name in weights.items())
    biases = _match_biases(shapes, layout, prefix, weights)
    return LayoutMatch(layout, prefix, weights, {**explained, **head}, fitting, biases, len(own))


def _match_biases(shapes: Shapes, layout: Layout, prefix: str, weights: Mapping[str, str]) -> int:
    """Return how many linear weights of the layout's own names have as many outputs as their layer has biases."""
    axis = -2 if layout.linear_axes == "OI" else -1
    pairs = (
        (shapes[weights[weight]], shapes.get(prefix + name, ()))
        for name, canonical in layout.names.items()
        if canonical.endswith(".bias") and (weight := f"{canonical.partition('.')[0]}.weight") in weights
        if weight.removesuffix(".weight") in LINEARS
    )
    return sum(len(weight) > 1 and bias[-1:] == (weight[axis],) for weight, bias in pairs)


def _features(shapes: Shapes, weights: Mapping[str, str]) -> int | None:
    """Return how many values fc8 reads: the outputs of the last layer before it that the file has."""
    last = next(
        (weights[f"{layer}.weight"] for layer in ("fc7", "fc6", "conv5b") if f"{layer}.weight" in weights), None
    )
    return shapes[last][0] if last is not None and shapes[last] else None
