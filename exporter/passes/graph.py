"""Reading and editing the graph of an `onnx_ir.Model`: what the passes share.

Shapes of values are those of onnx's shape inference. A size is an `int`, a string where the graph names it (`batch`),
or None where it is unknown. A shape is None where the rank is unknown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from exporter.onnx_io.onnx_passes import run_onnx_pass
from exporter.onnx_io.subgraphs import STANDARD_DOMAINS
from exporter.passes.names import UsedNames

if TYPE_CHECKING:
    from numpy.typing import NDArray

Size = int | str | None
"""The size of one axis."""
USED_NAMES = "c3d-export.used_names"
"""The key of a model's `meta` under which `remember_names` keeps its names."""


def relative_error(values: NDArray[Any], exact: NDArray[Any]) -> float:
    """Return the largest difference of two arrays, relative to the largest of `exact`."""
    scale = float(np.abs(exact).max(initial=0))
    return float(np.abs(values - exact).max(initial=0)) / scale if scale else 0.0


def display_name(node: ir.Node) -> str:
    """Return a node's name for messages: its own, or that of its first output."""
    return node.name or next((str(value.name) for value in node.outputs if value.name), node.op_type)


def find_nodes(model: ir.Model, *operators: str) -> list[ir.Node]:
    """Return the main graph's standard nodes of these operators; the graph can be changed while iterating over them."""
    return [node for node in model.graph if node.op_type in operators and node.domain in STANDARD_DOMAINS]


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """Return a value's tensor where it is constant: an initialiser that is no input, or the output of a Constant.

    An initialiser that is an input too is a default value, which the caller may replace.
    """
    if value is None or value.is_graph_input():
        return None
    return ir.convenience.get_const_tensor(value)


def read_array(value: ir.Value | None) -> NDArray[Any]:
    """Return the numbers of a constant, which may be mapped from a file."""
    tensor = constant(value)
    assert tensor is not None, f"{value} is not constant"
    return np.asarray(tensor.numpy())


def replace_value(old: ir.Value, new: ir.Value) -> None:
    """Let all that reads a value, and the graph's outputs, take another, which gets its name, shape and type.

    What computes the old value should be removed then.
    """
    name, shape, kind = old.name, old.shape, old.type
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    new.name, new.shape, new.type = name, shape, kind


def single_consumer(value: ir.Value) -> ir.Node | None:
    """Return the only node that reads `value`, or None if there are several uses or it is an output of the graph.

    A node inside a subgraph does not count: it runs only when the subgraph does.
    """
    uses, producer = list(value.uses()), value.producer()
    if len(uses) != 1 or value.is_graph_output() or (producer is not None and uses[0].node.graph is not producer.graph):
        return None
    return uses[0].node


def following_relu_and_pool(conv: ir.Node) -> tuple[ir.Node | None, ir.Node | None]:
    """Return the ReLU and the MaxPool directly after a convolution, in either order; None for one that is not there."""
    found: dict[str, ir.Node] = {}
    node = conv
    while (following := single_consumer(node.outputs[0])) is not None:
        if (
            following.op_type not in ("Relu", "MaxPool")
            or following.domain not in STANDARD_DOMAINS
            or following.op_type in found
        ):
            break
        if len([value for value in following.outputs if value.name]) != 1:
            break
        found[following.op_type] = node = following
    return found.get("Relu"), found.get("MaxPool")


@contextlib.contextmanager
def remember_names(model: ir.Model) -> Generator[None]:
    """Let `used_names` read the names of a model only once in the block; all new ones must come from it."""
    model.meta[USED_NAMES] = None
    try:
        yield
    finally:
        model.meta.pop(USED_NAMES, None)


def used_names(model: ir.Model) -> UsedNames:
    """Return the names of all values and nodes, including those of subgraphs."""
    if USED_NAMES not in model.meta:
        return _read_names(model)
    if model.meta[USED_NAMES] is None:
        model.meta[USED_NAMES] = _read_names(model)
    return model.meta[USED_NAMES]


def _read_names(model: ir.Model) -> UsedNames:
    names, graphs = UsedNames(), [model.graph]
    for graph in graphs:
        names.update(str(value.name) for value in graph.inputs)
        names.update(graph.initializers)
        for node in graph:
            names.add(str(node.name))
            for value in node.outputs:
                names.add(str(value.name))
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.GRAPH:
                    graphs.append(attribute.as_graph())
                elif attribute.type == ir.AttributeType.GRAPHS:
                    graphs += attribute.as_graphs()
    return names


def add_initializer(model: ir.Model, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    """Register a tensor as an initialiser under `name`, numbered if that is used, and return its value."""
    name = used_names(model).new(name)
    if isinstance(tensor, ir.Tensor):
        tensor.name = name
    value = ir.Value(
        name=name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    model.graph.register_initializer(value)
    return value


def replace_constant(model: ir.Model, node: ir.Node, index: int, **tensors: NDArray[Any]) -> list[ir.Value]:
    """Remove a constant input of a node, and register other constants under its name.

    Args:
        model: the model.
        node: the node, which then has no such input.
        index: of the input.
        **tensors: the constants, whose names end in `.scale` and so on; `values` has the name of the one removed.

    Returns:
        their values, in order.
    """
    old = node.inputs[index]
    assert old is not None
    node.replace_input_with(index, None)
    remove_unused_initializers(model, [old])
    names = (f"{old.name}.{key}" if key != "values" else str(old.name) for key in tensors)
    return [add_initializer(model, name, ir.tensor(array)) for name, array in zip(names, tensors.values(), strict=True)]


def remove_unused_initializers(model: ir.Model, values: Iterable[ir.Value | None]) -> None:
    """Remove those of `values` that are initialisers without a use."""
    for value in values:
        if value is None or value.uses() or value.is_graph_output() or value.is_graph_input():
            continue
        if model.graph.initializers.get(str(value.name)) is value:
            del model.graph.initializers[str(value.name)]
            if USED_NAMES in model.meta:
                used_names(model).discard(str(value.name))


def get_opset(model: ir.Model) -> int:
    """Return the version of the standard operators that the model imports."""
    return next((model.graph.opset_imports[name] for name in STANDARD_DOMAINS if name in model.graph.opset_imports), 0)


def infer_shapes(model: ir.Model, *, outputs: bool = False) -> None:
    """Set the inferred shapes and dtypes of a model's values, in place; constants are propagated.

    The graph's inputs keep the declared ones, and so do its outputs unless `outputs`. Weights are not copied.
    """
    restoring = contextlib.nullcontext() if outputs else preserve_signature(model)
    with restoring:
        run_onnx_pass(ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True), model)


@contextlib.contextmanager
def preserve_signature(model: ir.Model) -> Generator[None]:
    """Restore the declared shapes and types of the graph's inputs and outputs after the block."""
    declared = [(value.shape, value.type) for value in (*model.graph.inputs, *model.graph.outputs)]
    try:
        yield
    finally:
        for value, (shape, type_) in zip((*model.graph.inputs, *model.graph.outputs), declared, strict=True):
            value.shape, value.type = shape, type_


def get_shape(value: ir.Value | None) -> tuple[Size, ...] | None:
    """Return a value's shape, or None where its rank is unknown."""
    if value is None:
        return None
    tensor = value.const_value
    if tensor is not None:
        return tuple(tensor.shape.numpy())
    if value.shape is None:
        return None
    return tuple(size if isinstance(size, int) else size.value for size in value.shape)
