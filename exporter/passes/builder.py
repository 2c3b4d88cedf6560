"""New nodes for a model, under names that it does not have yet."""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.passes.graph import add_initializer, constant, get_opset, used_names

REDUCE_AXES_AS_INPUT = 18
"""The opset from which ReduceMax and ReduceMean take their axes as an input."""
MATRIX_PREFIXES = ("winograd.", "conv2d.")
"""Prefixes of the names of fixed matrices, which are part of an algorithm and not weights."""


def is_made_by_pass(node: ir.Node) -> bool:
    """Return whether an earlier run of a pass made a node, by its name: `conv1.winograd.weight.taps`."""
    return any(f".{prefix}" in str(node.name) for prefix in MATRIX_PREFIXES)


def insert_node(
    model: ir.Model,
    before: ir.Node,
    operator: str,
    inputs: list[ir.Value],
    name: str,
    shape: ir.Shape | None = None,
    dtype: ir.DataType | None = None,
    *,
    output: str = "",
    **attributes: int | list[int],
) -> ir.Value:
    """Insert a node of a standard operator before another, and return its only output.

    Args:
        model: the model.
        before: a node of its main graph.
        operator: the new node's operator.
        inputs: its inputs.
        name: its name, numbered if that is used.
        shape: of the output, where it is known.
        dtype: of the output, where it is known.
        output: the name of the output; that of the node and `.out` if it is empty.
        **attributes: the node's attributes.
    """
    used = used_names(model)
    title, result = used.find_new(name), used.find_new(output or f"{name}.out")  # they may be equal
    used.update((title, result))
    node = ir.node(operator, inputs, attributes, name=title)
    value = node.outputs[0]
    value.name, value.shape = result, shape
    value.type = None if dtype is None else ir.TensorType(dtype)
    model.graph.insert_before(before, node)
    return value


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

    def reduce(self, operator: str, step: str, x: ir.Value, axis: int, name: str, *, kept: bool = False) -> ir.Value:
        """Make a ReduceMax or ReduceMean over one axis; `name` is that of its constant, where it has one."""
        if get_opset(self._model) < REDUCE_AXES_AS_INPUT:
            return self.op(operator, step, x, axes=[axis], keepdims=int(kept))
        return self.op(operator, step, x, self.integers(name, [axis]), keepdims=int(kept))

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
        return self._used.new(f"{self._prefix}.{step}")
