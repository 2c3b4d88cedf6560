"""An input of a graph at a node that gives it a meaning, with what is known around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import onnx
from numpy.typing import NDArray

from exporter.onnx_io.attributes import get_attributes
from exporter.types import ValueRange

Shape = tuple[int, ...]
RoleValue = Sequence[int] | Sequence[float] | NDArray[Any] | ValueRange | None
"""The numbers of an input, a range to draw them from, or None where neither is known."""
Derive = Callable[["InputUse"], RoleValue]


@dataclass(frozen=True)
class InputUse:
    """An input of a graph at a node.

    Attributes:
        node: the node.
        position: which of its inputs.
        dtype: of the input.
        count: the number of its elements; None where it is dynamic.
        shapes: {value: shape} of the values of the graph that are known.
        constants: {value: array} of those that are constant or that the user gives.
    """

    node: onnx.NodeProto
    position: int
    dtype: str
    count: int | None
    shapes: Mapping[str, Shape]
    constants: Mapping[str, NDArray[Any]]

    def input_shape(self, position: int = 0) -> Shape | None:
        """Return the shape of one of the node's inputs, or None where it is not known."""
        return self.shapes.get(self.node.input[position]) if self.has(position) else None

    @property
    def output_shape(self) -> Shape | None:
        """The shape of the node's first output; None where it is not known."""
        return self.shapes.get(self.node.output[0])

    def has(self, position: int) -> bool:
        """Return whether the node has an input at a position."""
        return position < len(self.node.input) and bool(self.node.input[position])

    def constant(self, position: int) -> list[Any] | None:
        """Return the numbers of one of the node's inputs that is constant, in a list."""
        value = self.constants.get(self.node.input[position]) if self.has(position) else None
        return None if value is None else value.reshape(-1).tolist()

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute's value."""
        return get_attributes(self.node).get(name, default)

    def axes(self, rank: int, count: int | None) -> list[int]:
        """Return the axes that the attribute `axes` names, else the first `count` ones, else all."""
        named = [axis % rank for axis in self.attribute("axes", ())] if rank else []
        return named or [*range(rank if count is None else min(count, rank))]


def find_removed(longer: Shape | None, shorter: Shape | None, count: int) -> list[int] | None:
    """Return the first `count` axes of a shape without which it is the shorter one."""
    if longer is None or shorter is None or len(longer) != len(shorter) + count:
        return None
    candidates = combinations(range(len(longer)), count)
    fits = (c for c in candidates if tuple(s for a, s in enumerate(longer) if a not in c) == shorter)
    return next((list(c) for c in fits), None)


def find_changed(use: InputUse, count: int | None) -> list[int]:
    """Return the axes whose size the node changes, completed to `count` by the first of the others."""
    data, target = use.input_shape(), use.output_shape
    if data is None or target is None or len(data) != len(target):
        return [*range(1 if count is None else count)]
    differ = [axis for axis in range(len(data)) if data[axis] != target[axis]]
    others = [axis for axis in range(len(data)) if axis not in differ]
    return sorted([*differ, *others][: len(differ) if count is None else count])
