"""Moves Transposes after elementwise operators and Concat, so that they meet the Transpose that undoes them.

*Given* `y = f(Transpose(a, p), Transpose(b, p), c)` with `f` elementwise or a Concat, and `c` constant. *Result*:
`y = Transpose(f(a, b, c'), p)`, with `c'` the constant in the other layout, and `p[axis]` as the axis of a Concat.
*Algebra*: elementwise operators commute with a permutation of the axes. *Source*: onnxruntime's transpose optimiser
does the same for operators of images; here it is the shortcut of a residual network that passes by rewritten volumes.

Of the Transposes before an addition one is left, and it is removed with that of the next convolution.
"""

import itertools

import numpy as np
import onnx_ir as ir

from exporter.passes.base import NodePass
from exporter.passes.builder import insert_node
from exporter.passes.cancel_transposes import FIRST, FRAMES, IMAGE_FIRST, cancel, is_inverse, permuted
from exporter.passes.graph import (
    add_initializer,
    constant,
    get_shape,
    read_array,
    remove_unused_initializers,
    single_consumer,
    used_names,
)

UNARY = ("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Clip")
BINARY = ("Add", "Sub", "Mul", "Div", "Sum", "PRelu")
LAYOUTS = (FIRST, FRAMES, IMAGE_FIRST)
"""The permutations with which rewritten convolutions end. Others are part of the network."""


class MoveTransposes(NodePass):
    """A Transpose after a rewritten convolution moves after elementwise operators and Concat."""

    name = "move-transposes"
    condition = (
        "An elementwise operator or Concat of Transposes from the same layout, which nothing else needs, and constants."
    )
    reason = "Of several Transposes one is left, and it meets the Transpose before the next layer, which undoes it."
    preparatory = True
    operators = (*UNARY, *BINARY, "Concat")

    def rewrite_node(self, model: ir.Model, node: ir.Node) -> bool:
        """See `NodePass`."""
        order = _layout_of_inputs(node)
        if order is not None:
            _move(model, node, order)
            self.decide(node, "transposed after", "all of its inputs were transposed alike before it")
        return order is not None


def _layout_of_inputs(node: ir.Node) -> list[int] | None:
    """Return the permutation by which the inputs of a node are transposed, if moving it after the node saves any."""
    orders, others = list[list[int]](), list[ir.Value]()
    for value in node.inputs:
        tensor = constant(value)
        if value is None or (tensor is not None and node.op_type != "Concat"):
            continue
        producer = value.producer()
        order = [] if producer is None else permuted(producer, node)
        if order in LAYOUTS and not value.is_graph_output() and _replaceable(value, node, order):
            orders.append(order)
        else:
            others.append(value)
    if not orders or any(order != orders[0] for order in orders[1:]):
        return None
    order = orders[0]
    read_transposed = _is_read_as(node.outputs[0], order, node)
    if any(_rank(value) != len(order) for value in others):
        return None
    added = sum(not _is_read_as(value, order, node) for value in others)
    if len(orders) + 2 * read_transposed < 1 + added + bool(others):
        return None
    return order if all(_rank(value) <= len(order) for value in node.inputs if constant(value) is not None) else None


def _is_read_as(value: ir.Value, order: list[int], node: ir.Node) -> bool:
    """Return whether a Transpose that undoes `order` reads a value, or what elementwise operators make of it."""
    readers = [use.node for use in value.uses() if use.node is not node]
    if any(is_inverse(order, permuted(reader, node)) for reader in readers):
        return True
    following = single_consumer(value)
    return following is not None and following.op_type in UNARY and _is_read_as(following.outputs[0], order, node)


def _rank(value: ir.Value | None) -> int:
    """Return the number of axes of a value, -1 if it is unknown."""
    shape = get_shape(value)
    return -1 if shape is None else len(shape)


def _replaceable(value: ir.Value, node: ir.Node, order: list[int]) -> bool:
    """Return whether nothing but `node` needs a transposed value: other readers are Transposes that undo it."""
    producer = value.producer()
    readers = [use.node for use in value.uses() if use.node is not node]
    return all(is_inverse(order, permuted(reader, producer)) for reader in readers)


def _move(model: ir.Model, node: ir.Node, order: list[int]) -> None:
    """Compute `node` in the layout of the Transposes' inputs, and transpose its result by `order`."""
    old = list(node.inputs)
    for index, value in enumerate(old):
        if value is None:
            continue
        producer = value.producer()
        if (tensor := constant(value)) is not None:
            if tensor.size > 1:
                name, values = str(value.name), read_array(value)
                full = values.reshape((1,) * (len(order) - values.ndim) + values.shape)
                permutated = np.ascontiguousarray(full.transpose(np.argsort(order)))
                node.replace_input_with(index, add_initializer(model, f"{name}.transposed", ir.tensor(permutated)))
        elif producer is not None and permuted(producer, node) == order:
            node.replace_input_with(index, producer.inputs[0])
        else:
            node.replace_input_with(index, _transposed(model, value, node, order))
    if node.op_type == "Concat":
        axis = node.attributes.get_int("axis", 1)
        node.attributes.add(ir.AttrInt64("axis", order[axis % len(order)]))
    result = node.outputs[0]
    names = used_names(model)
    transpose = ir.Node("", "Transpose", [result], [ir.AttrInt64s("perm", order)], num_outputs=1)
    transpose.name = names.new(f"{node.name or result.name}.transpose")
    model.graph.insert_after(node, transpose)
    moved = transpose.outputs[0]
    moved.name, moved.shape, moved.type = result.name, result.shape, result.type
    ir.convenience.replace_all_uses_with(result, moved, replace_graph_outputs=True)
    transpose.replace_input_with(0, result)
    result.name, result.shape = names.new(f"{moved.name}.before"), None
    for value in old:
        producer = value.producer() if value is not None else None
        if value is not None and producer is not None and not value.uses() and producer.graph is not None:
            model.graph.remove(producer, safe=True)
    for reader in [use.node for use in moved.uses()]:
        cancel(model, reader)
    remove_unused_initializers(model, old)


def _transposed(model: ir.Model, value: ir.Value, node: ir.Node, order: list[int]) -> ir.Value:
    """Return a value in the layout that `order` undoes: an existing Transpose's before `node`, or that of a new one."""
    earlier = set(itertools.takewhile(lambda other: other is not node, model.graph))
    for reader in (use.node for use in value.uses()):
        if reader in earlier and is_inverse(order, permuted(reader, node)):
            return reader.outputs[0]
    name, undone = value.name, np.argsort(order).tolist()
    return insert_node(model, node, "Transpose", [value], f"{name}.transpose", output=f"{name}.transposed", perm=undone)
