"""The types that a row of the fault table is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter.fault_injection.graph import FaultyGraph, Layer, OriginalGraph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Change = Callable[[Floats, np.random.Generator], NDArray[Any]]

Injection = Callable[[FaultyGraph], None]


@dataclass(frozen=True)
class FaultSite:
    """A position at which a fault type can be injected into one graph.

    Attributes:
        where: the position, for reports: `conv2`.
        value: the first value of the original graph that becomes wrong; None where no layer causes the fault.
        inject: puts the fault into a copy.
    """

    where: str
    value: str | None
    inject: Callable[[FaultyGraph, np.random.Generator], None]


@dataclass(frozen=True)
class FaultType:
    """A fault type.

    Attributes:
        name: short, for reports.
        cause: the mistake that does this to a real artifact.
        places: a graph -> all positions at which it can be injected; none where it does not apply.
    """

    name: str
    cause: str
    find_sites: Callable[[OriginalGraph], Iterable[FaultSite]]


def plain(value: str) -> str:
    """Return a value's name as its layer's: `conv3a.relu` for `conv3a.relu.out`."""
    return value.removesuffix(".out")


def layers(kind: str | None = None) -> Callable[[OriginalGraph], tuple[Layer, ...]]:
    """Return what lists a graph's layers, of one kind or all."""
    return lambda graph: tuple(layer for layer in graph.layers if kind in (None, layer.kind))


def change_weights(
    change: Change, kind: str | None = None, fits: Callable[[tuple[int, ...]], bool] = lambda _shape: True
) -> Callable[[OriginalGraph], Iterable[FaultSite]]:
    """Inject a change in each layer's weight, (out, in, …).

    Args:
        change: (weight, random numbers) -> another of the same shape; it may write into the one it is given.
        kind: `conv` or `linear`, None for both.
        fits: weight shape -> whether the change is possible.
    """

    def at(layer: Layer) -> FaultSite:
        def inject(copy: FaultyGraph, generator: np.random.Generator) -> None:
            copy.set_weight(layer, change(copy.weight(layer), generator))

        return FaultSite(layer.name, layer.node, inject)

    return lambda graph: [at(layer) for layer in layers(kind)(graph) if fits(graph.shape(layer))]


def insert_after(
    values: Callable[[OriginalGraph], Iterable[str]],
    build: Callable[[FaultyGraph, str, np.random.Generator], str],
    *,
    attributable: bool = True,
) -> Callable[[OriginalGraph], Iterable[FaultSite]]:
    """Insert nodes after values.

    Args:
        values: a graph -> the values.
        build: (copy, the value as it was, random numbers) -> what it becomes.
        attributable: localisation should name the value's own layer.
    """

    def at(value: str) -> FaultSite:
        def inject(copy: FaultyGraph, generator: np.random.Generator) -> None:
            copy.wrap(value, lambda copy, x: build(copy, x, generator))

        return FaultSite(plain(value), value if attributable else None, inject)

    return lambda graph: [at(value) for value in values(graph)]


def find_outputs(*operators: str) -> Callable[[OriginalGraph], Iterable[str]]:
    """Return what lists the values that some operators compute."""
    return lambda graph: [node.output[0] for node in graph.nodes(*operators)]


def clip(graph: OriginalGraph) -> Iterable[str]:
    """List the clip."""
    return [graph.clip]
