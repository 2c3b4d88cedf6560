"""Matches an artifact's values to the reference's layers: by name, by value, by similarity.

A value within a layer's budget is that layer, wherever it is in the graph. A diverging layer is searched among the
values between its matched neighbours, so that it is not mistaken for another layer of the same shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.engines.base import Tensors
from exporter.parity.compare import nonfinite_class
from exporter.parity.tolerance import Tolerance
from exporter.passes.names import is_unbiased
from exporter.results import MatchMethod

MIN_SIMILARITY = 0.5
"""The smallest cosine similarity at which a value of another name is taken for a diverging layer."""
MIN_LAYOUT_AXES = 3
"""A value needs a batch, a channel and a position axis to have them in another order."""


@dataclass(frozen=True)
class LayerMatch:
    """The value that was matched to a layer.

    Attributes:
        name: the value's name.
        index: its position among the values.
        method: how it was found.
        error: its largest error.
        budget_used: the error divided by the layer's budget.
    """

    name: str
    index: int
    method: MatchMethod
    error: float
    budget_used: float


def match_layers(values: Tensors, float32: Tensors, float64: Tensors, tolerance: Tolerance) -> dict[str, LayerMatch]:
    """Return {layer: the value that was matched to it}, without layers that the graph does not contain.

    Values within the budget are matched first, whatever their names. Then a value with the name of an unmatched layer
    is taken for it, unless it is more similar to another unmatched layer. The rest is matched by similarity. Values
    that a pass left without their bias are no layers.

    Args:
        values: the artifact's values, in the order computed.
        float32: {layer: value of the float32 baseline}.
        float64: {layer: value of the float64 reference}, in the order computed.
        tolerance: decides each layer's budget.
    """
    values = {name: value for name, value in values.items() if not is_unbiased(name)}
    matcher = _Matcher(values, float32, float64, tolerance, list(values), _indices_by_name(list(values), float64))
    for find in (matcher.by_value, matcher.by_name, matcher.by_similarity):
        matcher.fill(find)
    return matcher.matches


@dataclass(frozen=True)
class _Matcher:
    values: Tensors
    float32: Tensors
    float64: Tensors
    tolerance: Tolerance
    names: list[str]
    named: dict[str, int]  # {layer: index of the value with its name}
    matches: dict[str, LayerMatch] = field(default_factory=dict[str, LayerMatch])

    def fill(self, find: Callable[[str, Sequence[int], range], LayerMatch | None]) -> None:
        """Match layers that have no value yet: `find(layer, unused values, values between the matched neighbours)`."""
        layers, count = list(self.float64), len(self.names)
        used = {match.index for match in self.matches.values()}
        start = 0
        for number, layer in enumerate(layers):
            if layer not in self.matches:
                later = [self.matches[other].index for other in layers[number + 1 :] if other in self.matches]
                unused = [index for index in range(count) if index not in used]
                if match := find(layer, unused, range(start, later[0] if later else count)):
                    self.matches[layer] = match
                    used.add(match.index)
            if layer in self.matches:
                start = self.matches[layer].index + 1

    def by_value(self, layer: str, unused: Sequence[int], near: range) -> LayerMatch | None:
        """Find a value within the budget: the one of that name, else between the neighbours, else anywhere."""
        own = self.named.get(layer)
        for index in sorted(unused, key=lambda index: (index != own, index not in near, index)):
            match = self._measure(index, layer, "name" if index == own else "value")
            if match.budget_used <= 1:
                return match
        return None

    def by_name(self, layer: str, unused: Sequence[int], _near: range) -> LayerMatch | None:
        """Find the value of that name, which diverges."""
        index = self.named.get(layer)
        if index is None or index not in unused:
            return None
        fits = any(True for _ in _layouts(self.values[self.names[index]], self.float64[layer]))
        return self._measure(index, layer, "name") if fits and not self._is_another(index, layer) else None

    def by_similarity(self, layer: str, unused: Sequence[int], near: range) -> LayerMatch | None:
        """Find the most similar value between the neighbours."""
        similar = {index: self._similarity(index, layer) for index in unused if index in near}
        best = max(similar, key=lambda index: similar[index], default=None)
        if best is None or similar[best] <= MIN_SIMILARITY or self._is_another(best, layer):
            return None
        return self._measure(best, layer, "similarity")

    def _measure(self, index: int, layer: str, method: MatchMethod) -> LayerMatch:
        values = self.values[self.names[index]]
        error, used = measure_layer(values, self.float32[layer], self.float64[layer], self.tolerance)
        return LayerMatch(self.names[index], index, method, error, used)

    def _similarity(self, index: int, layer: str) -> float:
        return cosine_similarity(self.values[self.names[index]], self.float64[layer])

    def _is_another(self, index: int, layer: str) -> bool:
        """Return whether a value is more similar to another unmatched layer.

        Fused graphs give a ReLU the name of its convolution.
        """
        own = max(MIN_SIMILARITY, self._similarity(index, layer))
        unmatched = [other for other in self.float64 if other not in self.matches and other != layer]
        return any(self._similarity(index, other) > own for other in unmatched)


def measure_layer(
    values: NDArray[Any], float32: NDArray[Any], float64: NDArray[Any], tolerance: Tolerance
) -> tuple[float, float]:
    """Return a value's (largest error, budget used) in the layout that fits best; infinite where none does.

    NaN and infinities must be where float32 has them; the error is that of the finite numbers.
    """
    results = [(float("inf"), float("inf"))]
    finite = np.isfinite(float32) & np.isfinite(float64)
    for view in _layouts(values, float64):
        if np.array_equal(nonfinite_class(view), nonfinite_class(float32)):
            given, exact = view[finite], float64[finite]
            used = tolerance.measure(given, float32[finite].astype(np.float64), exact)[1] if given.size else 0.0
            results.append((float(np.abs(given - exact).max(initial=0)), used))
    return min(results, key=lambda pair: pair[1])


def cosine_similarity(values: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Return the cosine similarity in the layout that fits best, 0 where none does."""
    norm = float(np.linalg.norm(wanted))
    best = 0.0
    for view in _layouts(values, wanted):
        both = norm * float(np.linalg.norm(view))
        if np.isfinite(both) and both > 0:
            best = max(best, float(np.vdot(view, wanted)) / both)
    return best


def _indices_by_name(names: list[str], float64: Tensors) -> dict[str, int]:
    layers = {_strip_suffix(layer): layer for layer in float64}
    indices: dict[str, int] = {}
    for index, name in enumerate(names):
        layer = name if name in float64 else layers.get(_strip_suffix(name))
        if layer is not None:
            indices.setdefault(layer, index)
    return indices


def _strip_suffix(name: str) -> str:
    """Return a value's name without what exporters add: `/conv1/Conv_output_0` and `conv1.out` are `conv1`."""
    name = re.sub(r"(\.out|_output_\d+|:\d+)$", "", name.strip("/"))
    return re.sub(r"/(Conv|Gemm|MaxPool|Flatten)$", "", name)


def _layouts(values: NDArray[Any], wanted: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """Yield values in the reference's shape: as they are, from channels-last, from frames before channels.

    Frames are an axis of their own or folded into the batch.
    """
    if values.size != wanted.size or not values.size:
        return
    shape, values = values.shape, values.astype(np.float64)
    if wanted.ndim < MIN_LAYOUT_AXES or shape == wanted.shape:
        yield values.reshape(wanted.shape)
        return
    if len(shape) == wanted.ndim and (moved := np.moveaxis(values, -1, 1)).shape == wanted.shape:
        yield moved
    if len(shape) == wanted.ndim and (moved := np.moveaxis(values, 1, 2)).shape == wanted.shape:
        yield moved
    if len(shape) == wanted.ndim - 1:  # (N T, C, H, W) for (N, C, T, H, W)
        frames = (wanted.shape[0], wanted.shape[2], wanted.shape[1], *wanted.shape[3:])
        if shape == (frames[0] * frames[1], *frames[2:]):
            yield np.moveaxis(values.reshape(frames), 1, 2)
    if [size for size in shape if size > 1] == [size for size in wanted.shape if size > 1]:
        yield values.reshape(wanted.shape)
