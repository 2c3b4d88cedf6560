"""What a row of the fault table consists of, and the common ways to find the positions of a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.fault_injection.graph import FaultyGraph, Layer, OriginalGraph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Change = Callable[[Floats, np.random.Generator], NDArray[Any]]

Generator = np.random.Generator
Inject = Callable[[FaultyGraph, Generator], None]
Build = Callable[[FaultyGraph, str, Generator], str]
"""(faulty copy, the old value, random numbers) -> the new value, made by `FaultyGraph.emit`."""


@dataclass(frozen=True)
class FaultSite:
    """A position at which a fault type can be injected into one graph.

    Attributes:
        where: the position, for reports: `conv2`.
        value: the first value of the original graph that becomes wrong; None where no layer causes the fault.
        inject: puts the fault into a copy of the graph.
    """

    where: str
    value: str | None
    inject: Inject


FindSites = Callable[[OriginalGraph], Iterable[FaultSite]]
FindValues = Callable[[OriginalGraph], Iterable[str]]


@dataclass(frozen=True)
class FaultType:
    """A fault type.

    Attributes:
        name: a short name, for reports.
        cause: the mistake that does this to a real artifact.
        find_sites: returns all positions of a graph at which it can be injected; none where it does not apply.
    """

    name: str
    cause: str
    find_sites: FindSites


def display_name(value: str) -> str:
    """Return a value's name for reports: `conv3a.relu` for `conv3a.relu.out`."""
    return value.removesuffix(".out")


def change_layers(
    inject: Callable[[FaultyGraph, Layer, Generator], None],
    applies: Callable[[OriginalGraph, Layer], bool] = lambda _graph, _layer: True,
    *,
    with_bias: bool = False,
) -> FindSites:
    """Inject a fault into each layer.

    Args:
        inject: puts the fault into a layer of a faulty copy.
        applies: whether a layer can have the fault.
        with_bias: the fault is in the bias or after it, so that the product of input and weight is still right.
    """

    def at(layer: Layer) -> FaultSite:
        value = layer.value if with_bias else layer.node
        return FaultSite(layer.name, value, lambda faulty, random: inject(faulty, layer, random))

    return lambda graph: [at(layer) for layer in graph.layers if applies(graph, layer)]


def change_weights(
    change: Change, kind: str | None = None, fits: Callable[[tuple[int, ...]], bool] = lambda _shape: True
) -> FindSites:
    """Change each layer's weight.

    Args:
        change: (weight (out, in, …), random numbers) -> the new weight; it may change its argument.
        kind: `conv` or `linear`; None for both.
        fits: weight shape -> whether the change is possible.
    """

    def inject(faulty: FaultyGraph, layer: Layer, random: Generator) -> None:
        faulty.set_weight(layer, change(faulty.weight(layer), random))

    return change_layers(inject, lambda graph, layer: kind in (None, layer.kind) and fits(graph.shape(layer)))


def change_values(
    values: FindValues, inject: Callable[[FaultyGraph, str, Generator], None], *, attributable: bool = True
) -> FindSites:
    """Inject a fault at each of some values.

    Args:
        values: a graph -> the values.
        inject: (faulty copy, the value, random numbers) puts the fault into the copy.
        attributable: localisation should name the value's own layer.
    """

    def at(value: str) -> FaultSite:
        wrong = value if attributable else None
        return FaultSite(display_name(value), wrong, lambda faulty, random: inject(faulty, value, random))

    return lambda graph: [at(value) for value in values(graph)]


def insert_after(values: FindValues, build: Build, *, attributable: bool = True) -> FindSites:
    """Insert the nodes that `build` makes after each of some values; see `change_values`."""

    def inject(faulty: FaultyGraph, value: str, random: Generator) -> None:
        faulty.wrap(value, lambda faulty, x: build(faulty, x, random))

    return change_values(values, inject, attributable=attributable)


def insert_constant(operator: str, number: float) -> Build:
    """Return what inserts an operator of a value and a number."""
    return lambda faulty, x, _: faulty.emit(operator, x, faulty.constant(number))


def find_outputs(*operators: str) -> FindValues:
    """Return what lists the values that some operators compute."""
    return lambda graph: [node.output[0] for node in graph.nodes(*operators)]


def round_to(steps: float) -> Build:
    """Return what rounds a value to multiples of 1 / `steps`."""

    def build(faulty: FaultyGraph, x: str, _: Generator) -> str:
        factor = faulty.constant(steps)
        return faulty.emit("Div", faulty.emit("Round", faulty.emit("Mul", x, factor)), factor)

    return build
