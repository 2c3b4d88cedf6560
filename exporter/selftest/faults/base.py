"""What a row of the table is made of."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter.selftest.graph import Copy, Layer, SoundGraph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Change = Callable[[Floats, np.random.Generator], NDArray[Any]]

Plant = Callable[[Copy], None]


@dataclass(frozen=True)
class Place:
    """Where a kind of fault can be planted in one graph.

    Attributes:
        where: for people: `conv2`.
        value: the value of the sound graph that goes wrong first; None where no layer is to blame.
        plant: puts the fault into a copy.
    """

    where: str
    value: str | None
    plant: "Callable[[Copy, np.random.Generator], None]"


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: short, for people.
        imitates: the mistake that does this to a real artifact.
        places: a graph -> everywhere it can be planted; none where it does not apply.
    """

    name: str
    imitates: str
    places: Callable[[SoundGraph], Iterable[Place]]


def plain(value: str) -> str:
    """Return a value's name as its layer's: `conv3a.relu` for `conv3a.relu.out`."""
    return value.removesuffix(".out")


def layers(kind: str | None = None) -> "Callable[[SoundGraph], tuple[Layer, ...]]":
    """Return what lists a graph's layers, of one kind or all."""
    return lambda graph: tuple(layer for layer in graph.layers if kind in (None, layer.kind))


def in_weights(
    change: "Change", kind: str | None = None, fits: Callable[[tuple[int, ...]], bool] = lambda _shape: True
) -> Callable[[SoundGraph], Iterable[Place]]:
    """Plant a change in each layer's weight, (out, in, …).

    Args:
        change: (weight, random numbers) -> another of the same shape; it may write into the one it is given.
        kind: `conv` or `linear`, None for both.
        fits: tells from the weight's shape whether the change makes sense.
    """

    def at(layer: Layer) -> Place:
        def plant(copy: Copy, generator: "np.random.Generator") -> None:
            copy.set_weight(layer, change(copy.weight(layer), generator))

        return Place(layer.name, layer.node, plant)

    return lambda graph: [at(layer) for layer in layers(kind)(graph) if fits(graph.shape(layer))]


def behind(
    values: Callable[[SoundGraph], Iterable[str]],
    build: "Callable[[Copy, str, np.random.Generator], str]",
    *,
    blame: bool = True,
) -> Callable[[SoundGraph], Iterable[Place]]:
    """Put nodes behind values.

    Args:
        values: a graph -> where.
        build: (copy, the value as it was, random numbers) -> what it becomes.
        blame: the value's own layer is what a localiser should name.
    """

    def at(value: str) -> Place:
        def plant(copy: Copy, generator: "np.random.Generator") -> None:
            copy.wrap(value, lambda copy, x: build(copy, x, generator))

        return Place(plain(value), value if blame else None, plant)

    return lambda graph: [at(value) for value in values(graph)]


def values_of(*operators: str) -> Callable[[SoundGraph], Iterable[str]]:
    """Return what lists the values that some operators compute."""
    return lambda graph: [node.output[0] for node in graph.nodes(*operators)]


def clip(graph: SoundGraph) -> Iterable[str]:
    """List the clip."""
    return [graph.clip]
