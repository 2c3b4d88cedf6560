"""New nodes for a model, under names that it does not have yet."""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.base import add_initializer, constant, names_in

FIXED = ("winograd.", "pictures.")
"""What the names of constants begin with that do not come from the weights: the matrices of transforms."""


class Builder:
    """Makes the nodes that stand in the place of others.

    Args:
        model: where constants are registered.
        prefix: of every name: the node's in whose place the new ones stand.
    """

    def __init__(self, model: ir.Model, prefix: str) -> None:
        self._model, self._prefix = model, prefix
        self._taken = names_in(model)
        self._tape = ir.tape.Tape()

    @property
    def nodes(self) -> list[ir.Node]:
        """Return what was made, in order."""
        return list(self._tape.nodes)

    def op(self, operator: str, step: str, *inputs: ir.Value, **attributes: int | list[int]) -> ir.Value:
        """Make a node `prefix.step` and return its only output."""
        value = self._tape.op(operator, inputs, attributes, name=self._fresh(f"{self._prefix}.{step}"))
        value.name = self._fresh(f"{self._prefix}.{step}.out")
        return value

    def reshape(self, x: ir.Value, step: str, *shape: int) -> ir.Value:
        """Make a Reshape; -1 stands for the batch and what goes with it."""
        name = ".".join("n" if size < 0 else str(size) for size in shape)
        return self.op("Reshape", step, x, self.integers(f"shape.{name}", shape))

    def integers(self, name: str, values: list[int] | tuple[int, ...]) -> ir.Value:
        """Return a constant that every node with the same `name` shares."""
        return self.constant(name, np.array(values, np.int64))

    def constant(self, name: str, values: NDArray[Any]) -> ir.Value:
        """Return the same for any array; what only happens to be called so is left alone."""
        wanted, number = name, 1
        while (known := self._model.graph.initializers.get(wanted)) is not None:
            tensor = constant(known)
            if tensor is not None and tuple(tensor.shape.numpy()) == values.shape:
                held = tensor.numpy()
                if held.dtype == values.dtype and np.array_equal(held, values):
                    return known
            number += 1
            wanted = f"{name}.{number}"
        return add_initializer(self._model, wanted, ir.tensor(values))

    def _fresh(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}.{number}"
        self._taken.add(name)
        return name
