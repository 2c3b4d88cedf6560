"""Which of an artifact's values stands for which layer of the truth: by name, by value, by likeness.

A value that agrees with a layer is that layer, wherever it stands. What has left the truth is sought between the
neighbours that were found, which keeps one layer from being taken for another of the same size.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from exporter.parity.compare import kinds
from exporter.parity.tolerance import Rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Layers = Mapping[str, NDArray[Any]]

LIKE = 0.5
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
    share: float


def match(values: "Layers", single: "Layers", exact: "Layers", rule: Rule) -> dict[str, Found]:
    """Return {layer: the value that stands for it}; layers that the graph does not show are left out.

    A value that agrees is taken first, by its name or without one. What is then left over of the names is a layer that
    has left the truth, unless that value agrees with another layer (a fused graph calls a convolution's ReLU by the
    convolution's name). The rest goes by likeness.

    Args:
        values: the artifact's, in the order computed.
        single: {layer: float32 values} of the reference.
        exact: {layer: float64 values} of the truth, in the order computed.
        rule: what agreeing means.
    """
    names = list(values)
    called = _by_name(names, exact)

    found: dict[str, Found] = {}

    def measured(place: int, layer: str, how: Match) -> Found:
        error, share = measure(values[names[place]], single[layer], exact[layer], rule)
        return Found(names[place], place, how, error, share)

    def another(place: int, layer: str, own: float) -> bool:
        """Tell whether a value is more like another lost layer: fused graphs call a ReLU by its convolution's name."""
        lost = [other for other in exact if other not in found and other != layer]
        return any(likeness(values[names[place]], exact[other]) > max(LIKE, own) for other in lost)

    def agreeing(layer: str, free: Sequence[int], near: range) -> Found | None:
        own = called.get(layer)
        for place in sorted(free, key=lambda place: (place != own, place not in near, place)):
            candidate = measured(place, layer, "name" if place == own else "value")
            if candidate.share <= 1:
                return candidate
        return None

    def named(layer: str, free: Sequence[int], _near: range) -> Found | None:
        place = called.get(layer)
        if place is None or place not in free or not _fits(values[names[place]], exact[layer]):
            return None
        if another(place, layer, likeness(values[names[place]], exact[layer])):
            return None
        return measured(place, layer, "name")

    def alike(layer: str, free: Sequence[int], near: range) -> Found | None:
        likely = {place: likeness(values[names[place]], exact[layer]) for place in free if place in near}
        best = max(likely, key=lambda place: likely[place], default=None)
        if best is None or likely[best] <= LIKE or another(best, layer, likely[best]):
            return None
        return measured(best, layer, "likeness")

    for way in (agreeing, named, alike):
        _fill(found, list(exact), len(names), way)
    return found


def _fill(
    found: dict[str, Found],
    layers: list[str],
    count: int,
    way: Callable[[str, Sequence[int], range], Found | None],
) -> None:
    """Add what one way finds for layers without a value, told what is free and what lies between the neighbours'."""
    taken = {match.place for match in found.values()}
    after = -1
    for number, layer in enumerate(layers):
        if layer not in found:
            before = next((found[later].place for later in layers[number + 1 :] if later in found), count)
            free = [place for place in range(count) if place not in taken]
            if match := way(layer, free, range(after + 1, before)):
                found[layer] = match
                taken.add(match.place)
        if layer in found:
            after = found[layer].place


def measure(given: "NDArray[Any]", single: "NDArray[Any]", exact: "NDArray[Any]", rule: Rule) -> tuple[float, float]:
    """Return a value's (largest error, share of the budget) in the axes that fit best, infinite where none do.

    NaN and infinities must stand where float32 has them; the rest is judged.
    """
    told = [(float("inf"), float("inf"))]
    holds = np.isfinite(single) & np.isfinite(exact)
    for view in _views(given, exact):
        if np.array_equal(kinds(view), kinds(single)):
            answer, measure, truth = view[holds], single[holds].astype(np.float64), exact[holds]
            share = rule.judge(answer, measure, truth)[1] if answer.size else 0.0
            told.append((float(np.abs(answer - truth).max(initial=0)), share))
    return min(told, key=lambda pair: pair[1])


def likeness(given: "NDArray[Any]", wanted: "NDArray[Any]") -> float:
    """Return the cosine similarity in the axes that fit best, 0 where none do."""
    norm = float(np.linalg.norm(wanted))
    best = 0.0
    for view in _views(given, wanted):
        both = norm * float(np.linalg.norm(view))
        if np.isfinite(both) and both > 0:
            best = max(best, float(np.vdot(view, wanted)) / both)
    return best


def _by_name(names: list[str], exact: "Layers") -> dict[str, int]:
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


def _fits(given: "NDArray[Any]", wanted: "NDArray[Any]") -> bool:
    return next(_views(given, wanted), None) is not None


def _views(given: "NDArray[Any]", wanted: "NDArray[Any]") -> "Iterator[NDArray[np.float64]]":
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
