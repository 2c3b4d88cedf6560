"""New nodes for a model, under names that it does not have yet."""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.base import add_initializer, constant, used_names
from exporter.passes.names import unused_name

MATRIX_PREFIXES = ("winograd.", "conv2d.")
"""Prefixes of the names of fixed matrices, which are part of an algorithm and not weights."""


def is_made_by_pass(node: ir.Node) -> bool:
    """Return whether an earlier run of a pass made a node, by its name: `conv1.winograd.weight.taps`."""
    return any(f".{prefix}" in str(node.name) for prefix in MATRIX_PREFIXES)


class Builder:
    """Makes the nodes that replace others.

    Args:
        model: where constants are registered.
        prefix: the prefix of every new name: the name of the node that is replaced.
    """

    def __init__(self, model: ir.Model, prefix: str) -> None:
        self._model, self._prefix = model, prefix
        self._used = used_names(model)
        self._tape = ir.tape.Tape()

    @property
    def nodes(self) -> list[ir.Node]:
        """The new nodes, in order."""
        return list(self._tape.nodes)

    def op(self, operator: str, step: str, *inputs: ir.Value, **attributes: int | list[int]) -> ir.Value:
        """Make a node `prefix.step` of a standard operator and return its only output."""
        return self.domain_op("", operator, step, *inputs, **attributes)

    def domain_op(
        self, domain: str, operator: str, step: str, *inputs: ir.Value, **attributes: int | list[int]
    ) -> ir.Value:
        """Make a node `prefix.step` of an operator of `domain` and return its only output."""
        value = self._tape.op(operator, inputs, attributes, domain=domain, name=self.new_name(step))
        value.name = self.new_name(f"{step}.out")
        return value

    def reshape(self, x: ir.Value, step: str, *shape: int) -> ir.Value:
        """Make a Reshape; -1 is the batch and the axes that are merged with it."""
        name = ".".join("n" if size < 0 else str(size) for size in shape)
        return self.op("Reshape", step, x, self.integers(f"shape.{name}", shape))

    def integers(self, name: str, values: list[int] | tuple[int, ...]) -> ir.Value:
        """Return an int64 constant; see `constant`."""
        return self.constant(name, np.array(values, np.int64))

    def constant(self, name: str, values: NDArray[Any]) -> ir.Value:
        """Return a constant, which is shared with every node that asks for the same name and values."""
        wanted, number = name, 1
        while (known := self._model.graph.initializers.get(wanted)) is not None:
            tensor = constant(known)
            if tensor is not None and (old := tensor.numpy()).dtype == values.dtype and np.array_equal(old, values):
                return known
            number += 1
            wanted = f"{name}.{number}"
        return add_initializer(self._model, wanted, ir.tensor(values))

    def new_name(self, step: str) -> str:
        """Return `prefix.step`, numbered if it is used, for a node or a value."""
        name = unused_name(self._used, f"{self._prefix}.{step}")
        self._used.add(name)
        return name
