"""Which of an artifact's values stands for which layer of the truth: by name, by value, by likeness.

A value that agrees with a layer is that layer, wherever it stands. What has left the truth is sought between the
neighbours that were found, which keeps one layer from being taken for another of the same size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from exporter.parity.compare import nonfinite_class
from exporter.parity.tolerance import Tolerance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Layers = Mapping[str, NDArray[Any]]

MIN_SIMILARITY = 0.5
"""The least cosine similarity at which an unnamed value is taken for a layer that has left the truth."""
FEWEST_AXES = 3
"""What has channels and places can have them in another order."""

Match = Literal["name", "value", "likeness"]


@dataclass(frozen=True)
class Found:
    """A value that stands for a layer: its name and place among the values, how it was found, error and budget used."""

    name: str
    place: int
    how: Match
    error: float
    budget_used: float


def match_layers(values: Layers, single: Layers, exact: Layers, rule: Tolerance) -> dict[str, Found]:
    """Return {layer: the value that stands for it}; layers that the graph does not show are left out.

    A value that agrees is taken first, by its name or without one. What is then left over of the names is a layer that
    has left the truth, unless that value is more like another layer. The rest goes by likeness.

    Args:
        values: the artifact's, in the order computed.
        single: {layer: float32 values} of the reference.
        exact: {layer: float64 values} of the truth, in the order computed.
        rule: what agreeing means.
    """
    matcher = _Matcher(values, single, exact, rule, list(values), _by_name(list(values), exact))
    for way in (matcher.by_value, matcher.by_name, matcher.by_similarity):
        matcher.fill(way)
    return matcher.found


@dataclass(frozen=True)
class _Matcher:
    values: Layers
    single: Layers
    exact: Layers
    rule: Tolerance
    names: list[str]
    called: dict[str, int]  # {layer: the place of the value that is called like it}
    found: dict[str, Found] = field(default_factory=dict[str, Found])

    def fill(self, way: Callable[[str, Sequence[int], range], Found | None]) -> None:
        """Add what one way finds for layers without a value, told what is free and what is between the neighbours'."""
        layers, count = list(self.exact), len(self.names)
        taken = {match_layers.place for match_layers in self.found.values()}
        after = -1
        for number, layer in enumerate(layers):
            if layer not in self.found:
                later = [self.found[other].place for other in layers[number + 1 :] if other in self.found]
                free = [place for place in range(count) if place not in taken]
                if match_layers := way(layer, free, range(after + 1, later[0] if later else count)):
                    self.found[layer] = match_layers
                    taken.add(match_layers.place)
            if layer in self.found:
                after = self.found[layer].place

    def by_value(self, layer: str, free: Sequence[int], near: range) -> Found | None:
        """Find a value within the budget: by name, else near, else anywhere."""
        own = self.called.get(layer)
        for place in sorted(free, key=lambda place: (place != own, place not in near, place)):
            candidate = self._measured(place, layer, "name" if place == own else "value")
            if candidate.budget_used <= 1:
                return candidate
        return None

    def by_name(self, layer: str, free: Sequence[int], _near: range) -> Found | None:
        """Find the value of that name, which has left the truth."""
        place = self.called.get(layer)
        if place is None or place not in free or not _fits(self.values[self.names[place]], self.exact[layer]):
            return None
        return None if self._is_another(place, layer) else self._measured(place, layer, "name")

    def by_similarity(self, layer: str, free: Sequence[int], near: range) -> Found | None:
        """Find the value between the neighbours that is most like the layer."""
        likely = {place: self._likeness(place, layer) for place in free if place in near}
        best = max(likely, key=lambda place: likely[place], default=None)
        if best is None or likely[best] <= MIN_SIMILARITY or self._is_another(best, layer):
            return None
        return self._measured(best, layer, "likeness")

    def _measured(self, place: int, layer: str, how: Match) -> Found:
        given = self.values[self.names[place]]
        error, share = measure(given, self.single[layer], self.exact[layer], self.rule)
        return Found(self.names[place], place, how, error, share)

    def _likeness(self, place: int, layer: str) -> float:
        return cosine_similarity(self.values[self.names[place]], self.exact[layer])

    def _is_another(self, place: int, layer: str) -> bool:
        """Tell whether a value is more like another lost layer: fused graphs call a ReLU by its convolution's name."""
        own = max(MIN_SIMILARITY, self._likeness(place, layer))
        lost = [other for other in self.exact if other not in self.found and other != layer]
        return any(self._likeness(place, other) > own for other in lost)


def measure(given: NDArray[Any], single: NDArray[Any], exact: NDArray[Any], rule: Tolerance) -> tuple[float, float]:
    """Return a value's (largest error, share of the budget) in the axes that fit best, infinite where none do.

    NaN and infinities must stand where float32 has them; the rest is judged.
    """
    reported = [(float("inf"), float("inf"))]
    holds = np.isfinite(single) & np.isfinite(exact)
    for view in _views(given, exact):
        if np.array_equal(nonfinite_class(view), nonfinite_class(single)):
            answer, measure, truth = view[holds], single[holds].astype(np.float64), exact[holds]
            share = rule.judge(answer, measure, truth)[1] if answer.size else 0.0
            reported.append((float(np.abs(answer - truth).max(initial=0)), share))
    return min(reported, key=lambda pair: pair[1])


def cosine_similarity(given: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Return the cosine similarity in the axes that fit best, 0 where none do."""
    norm = float(np.linalg.norm(wanted))
    best = 0.0
    for view in _views(given, wanted):
        both = norm * float(np.linalg.norm(view))
        if np.isfinite(both) and both > 0:
            best = max(best, float(np.vdot(view, wanted)) / both)
    return best


def _by_name(names: list[str], exact: Layers) -> dict[str, int]:
    plain = {_plain(layer): layer for layer in exact}
    called: dict[str, int] = {}
    for place, name in enumerate(names):
        layer = name if name in exact else plain.get(_plain(name))
        if layer is not None:
            called.setdefault(layer, place)
    return called


def _plain(name: str) -> str:
    """Return a value's name without what exporters add: `/conv1/Conv_output_0` and `conv1.out` are `conv1`."""
    name = re.sub(r"(\.out|_output_\d+|:\d+)$", "", name.strip("/"))
    return re.sub(r"/(Conv|Gemm|MaxPool|Flatten)$", "", name)


def _fits(given: NDArray[Any], wanted: NDArray[Any]) -> bool:
    return next(_views(given, wanted), None) is not None


def _views(given: NDArray[Any], wanted: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """Yield values in the truth's shape: as they are, channels last turned first, frames folded into the batch."""
    if given.size != wanted.size or not given.size:
        return
    values = given.astype(np.float64)
    axes = wanted.ndim
    if axes < FEWEST_AXES or given.shape == wanted.shape:
        yield values.reshape(wanted.shape)
        return
    if given.ndim == axes and (turned := np.moveaxis(values, -1, 1)).shape == wanted.shape:
        yield turned
    if given.ndim == axes - 1:  # (N T, C, H, W) for (N, C, T, H, W)
        frames = (wanted.shape[0], wanted.shape[2], wanted.shape[1], *wanted.shape[3:])
        if given.shape == (frames[0] * frames[1], *frames[2:]):
            yield np.moveaxis(values.reshape(frames), 1, 2)
    squeezed = [size for size in wanted.shape if size > 1]
    if [size for size in given.shape if size > 1] == squeezed:
        yield values.reshape(wanted.shape)
