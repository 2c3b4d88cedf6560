"""The values behind a discrete output, each with the range that the allowed error of the float values permits."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from exporter.engines.base import Tensors
from exporter.parity.tolerance import Tolerance, rounding_slack

Array = NDArray[Any]
Mask = NDArray[np.bool_]


class Bounds(NamedTuple):
    """What is permitted for each element.

    Attributes:
        low: the smallest permitted value.
        high: the largest.
        uncertain: whether a decision behind it may flip.
        inexact: whether it depends on numbers that float32 rounds.
    """

    low: Array
    high: Array
    uncertain: Mask
    inexact: Mask


@dataclass(frozen=True)
class Run:
    """The values of one input.

    Attributes:
        float64: {value: its array in the float64 reference}; inputs of the graph too.
        float32: {value: its array in the float32 baseline}.
        tolerance: the allowed error of the float values.
        found: the bounds computed so far.
    """

    float64: Tensors
    float32: Tensors
    tolerance: Tolerance
    found: dict[int, Bounds] = field(default_factory=dict[int, Bounds])

    @property
    def nbytes(self) -> int:
        """The size of the values."""
        return sum(array.nbytes for array in (*self.float64.values(), *self.float32.values()))

    def bounds(self, node: Node) -> Bounds:
        """Return the bounds of a node's value."""
        if id(node) not in self.found:
            with np.errstate(all="ignore"):
                self.found[id(node)] = node.bounds(self)
        return self.found[id(node)]


class Node(ABC):
    """A value of the graph.

    Attributes:
        value: its name.
    """

    value: str

    @property
    def sources(self) -> tuple[Node, ...]:
        """The nodes that it is computed from."""
        return ()

    @property
    def exact(self) -> bool:
        """Whether it is computed from constants and inputs alone, by operators that do not round."""
        return bool(self.sources) and all(source.exact for source in self.sources)

    @property
    def decides(self) -> bool:
        """Whether a decision on a rounded value lies at it or before it."""
        return any(source.decides for source in self.sources)

    @abstractmethod
    def bounds(self, run: Run) -> Bounds:
        """Return the permitted values; arrays of the value's shape."""

    def accepts(self, run: Run, positions: NDArray[np.intp], candidates: Array) -> Mask:
        """Return whether each candidate is a permitted value of the element at its position.

        Args:
            run: the values of one input.
            positions: (M,) positions of elements in the flattened value.
            candidates: (M,), what an artifact returned there.
        """
        low, high = run.bounds(self)[:2]
        slack = max(map(rounding_slack, (low, high))) if candidates.dtype.kind == "f" else 0
        low, high = low.reshape(-1)[positions], high.reshape(-1)[positions]
        return (low - slack <= candidates) & (candidates <= high + slack)

    def names(self) -> set[str]:
        """Return the values of the graph that the bounds need."""
        return {self.value}.union(*(source.names() for source in self.sources))


def run_node(
    node: onnx.NodeProto, inputs: Mapping[str, NDArray[Any]], opset: int, output: str | None = None
) -> NDArray[Any]:
    """Run one operator as the float64 reference does, and return one of its outputs.

    Args:
        node: the operator.
        inputs: {input: array}; every input of the node that is not empty.
        opset: of the model.
        output: the output; None for the first.
    """
    from exporter.engines.reference.node import make_node
    from exporter.engines.reference.operators import Choice, Operator

    operator = Operator(make_node(node, {"": opset}), Choice("float64"), {})
    outputs = operator.run([inputs[name] if name else None for name in node.input], {})
    return np.asarray(outputs[0 if output is None else [*node.output].index(output)])


@dataclass(frozen=True, eq=False)
class Continuous(Node):
    """A float value before any decision: its allowed error is the tolerance's.

    A number that is exactly zero in float64 and in float32 is so by structure (padding, a mask), so it has no error.
    """

    value: str

    def bounds(self, run: Run) -> Bounds:
        """See `Node`."""
        float64 = run.float64[self.value].astype(np.float64)
        float32 = run.float32[self.value].astype(np.float64)
        finite = np.isfinite(float64) & np.isfinite(float32)
        error = np.zeros(float64.shape)
        if finite.any():
            error[finite] = run.tolerance.allowed(float32[finite], float64[finite])
        error[(float64 == 0) & (float32 == 0)] = 0
        return Bounds(float64 - error, float64 + error, np.zeros(float64.shape, bool), error > 0)


@dataclass(frozen=True, eq=False)
class Given(Node):
    """A constant of the graph, or one of its inputs: the same in every program."""

    value: str
    constant: Array | None = None

    @property
    def exact(self) -> bool:
        """See `Node`."""
        return True

    def bounds(self, run: Run) -> Bounds:
        """See `Node`."""
        array = run.float64[self.value] if self.constant is None else self.constant
        array = array.astype(np.float64) if array.dtype.kind == "f" else array
        exact = np.zeros(array.shape, bool)
        return Bounds(array, array, exact, exact)

    def names(self) -> set[str]:
        """See `Node`."""
        return set() if self.constant is not None else {self.value}


@dataclass(frozen=True, eq=False)
class Unfollowed(Node):
    """A discrete value that is not followed: it must be what the float64 reference or the float32 baseline has."""

    value: str

    def bounds(self, run: Run) -> Bounds:
        """See `Node`."""
        float64, float32 = run.float64[self.value], run.float32[self.value]
        low, high = np.minimum(float64, float32), np.maximum(float64, float32)
        return Bounds(low, high, float64 != float32, np.ones(float64.shape, bool))

    def accepts(self, run: Run, positions: NDArray[np.intp], candidates: Array) -> Mask:
        """See `Node`."""
        values = [array.reshape(-1)[positions] for array in (run.float64[self.value], run.float32[self.value])]
        return (candidates == values[0]) | (candidates == values[1])


@dataclass(frozen=True, eq=False)
class Corners(Node):
    """An operator that is monotone in each of its inputs: its bounds are among its values at the inputs' bounds.

    Attributes:
        value: the value's name.
        node: the operator.
        inputs: {input of the node: what it is computed from}.
        opset: of the model.
        step: the operator decides: rounding, a comparison, a cast to integers.
        elementwise: each element depends on one element of each input, after broadcasting.
    """

    value: str
    node: onnx.NodeProto
    inputs: Mapping[str, Node]
    opset: int
    step: bool
    elementwise: bool = True

    @property
    def sources(self) -> tuple[Node, ...]:
        """See `Node`."""
        return tuple(self.inputs.values())

    @property
    def exact(self) -> bool:
        """See `Node`."""
        return self.step and super().exact

    @property
    def decides(self) -> bool:
        """See `Node`."""
        return (self.step and not self.exact) or super().decides

    def bounds(self, run: Run) -> Bounds:
        """See `Node`."""
        found = {name: run.bounds(source) for name, source in self.inputs.items()}
        varying = [name for name, bounds in found.items() if bounds.low is not bounds.high]
        low = high = np.zeros(())
        for number, corner in enumerate(itertools.product((0, 1), repeat=len(varying))):
            at = dict(zip(varying, corner, strict=True))
            values = run_node(self.node, {name: bounds[at.get(name, 0)] for name, bounds in found.items()}, self.opset)
            low, high = (values, values) if number == 0 else (np.minimum(low, values), np.maximum(high, values))
        inexact = self._combine({name: bounds.inexact for name, bounds in found.items()}, found, low.shape)
        if self.step:
            return self._without_overflow(run, found, Bounds(low, high, low != high, inexact))
        uncertain = self._combine({name: bounds.uncertain for name, bounds in found.items()}, found, low.shape)
        return Bounds(low, high, uncertain, inexact)

    def _combine(self, masks: Mapping[str, Mask], found: Mapping[str, Bounds], shape: tuple[int, ...]) -> Mask:
        """Return for each element whether the mask holds for one that it depends on."""
        if self.elementwise:
            return np.broadcast_to(np.logical_or.reduce(np.broadcast_arrays(*masks.values())), shape)
        data, *others = masks
        arrays = {data: masks[data].astype(np.float64), **{name: found[name].low for name in others}}
        return run_node(self.node, arrays, self.opset) > 0

    def _without_overflow(self, run: Run, found: Mapping[str, Bounds], bounds: Bounds) -> Bounds:
        """Give numbers that a cast cannot represent no range: what they become is the engine's choice."""
        if self.node.op_type != "Cast" or bounds.low.dtype.kind not in "iu":
            return bounds
        limits = np.iinfo(bounds.low.dtype)
        (source,) = found.values()
        inside = (source.low > float(limits.min) - 1) & (source.high < float(limits.max) + 1)
        exact = run.float64[self.value]
        low, high = np.where(inside, bounds.low, exact), np.where(inside, bounds.high, exact)
        return Bounds(low, high, bounds.uncertain & inside, bounds.inexact)

    def accepts(self, run: Run, positions: NDArray[np.intp], candidates: Array) -> Mask:
        """See `Node`; rounded numbers are integers."""
        if self.node.op_type not in ROUNDING or candidates.dtype.kind != "f":
            return super().accepts(run, positions, candidates)
        return super().accepts(run, positions, candidates) & (candidates == np.rint(candidates))


@dataclass(frozen=True, eq=False)
class Equality(Node):
    """Equal, or with `negated` a cast to booleans, which is inequality to zero."""

    value: str
    left: Node
    right: Node
    negated: bool = False

    @property
    def sources(self) -> tuple[Node, ...]:
        """See `Node`."""
        return (self.left, self.right)

    @property
    def decides(self) -> bool:
        """See `Node`."""
        return not self.exact

    def bounds(self, run: Run) -> Bounds:
        """See `Node`."""
        a, b = run.bounds(self.left), run.bounds(self.right)
        possible = (a.low <= b.high) & (b.low <= a.high)
        certain = (a.low == a.high) & (b.low == b.high) & (a.low == b.low)
        low, high = (~possible, ~certain) if self.negated else (certain, possible)
        return Bounds(low, high, low != high, np.broadcast_to(a.inexact | b.inexact, low.shape))


ROUNDING = ("Round", "Floor", "Ceil", "Sign")
"""Operators whose outputs are integers, whatever their dtype."""
