"""Names of exported nodes and values: those of the network's layers.

torch's exporter numbers what it writes (`node_conv3d_3`, `val_10`), but records which module each node came from.
People and `verify parity --localize` look for layers.
"""

from __future__ import annotations

import ast
from collections.abc import Container
from typing import TYPE_CHECKING

from exporter.passes.names import unused_name

if TYPE_CHECKING:
    import onnx_ir as ir

SCOPES_KEY = "pkg.torch.onnx.name_scopes"
"""Metadata of a node: the modules around it, outermost first, then the name of the operator."""
CLASSES_KEY = "pkg.torch.onnx.class_hierarchy"
"""Metadata of a node: the classes of these modules, then the operator."""


def rename_nodes(model: ir.Model, prefix: str, parameters: Container[str]) -> None:
    """Name weights, nodes and values after the network's layers: conv1.weight, conv1, conv1.relu, pool1.

    A node with a weight has its layer's name, one that is a module of its own has that module's, and any other is
    `<layer before it>.<operator>`. A value is `<node>.out`, a constant of the exporter `<node>.input<position>`.

    Args:
        model: as `torch.onnx.export` returns it; it is changed in place.
        prefix: what the names of the network's modules begin with inside the exported module.
        parameters: names of the exported module's parameters and buffers.
    """
    constants = [value for name, value in model.graph.initializers.items() if name not in parameters]
    for old in list(model.graph.initializers):
        value = model.graph.initializers.pop(old)
        value.name = old.removeprefix(prefix)
        model.graph.initializers[value.name] = value
    outputs = {value.name for value in model.graph.outputs}
    taken: set[str] = set()
    layer = ""
    for node in model.graph:
        weights = [name for value in node.inputs if value is not None and (name := str(value.name)).endswith(".weight")]
        module = "" if node.op_type == "Relu" else _get_module(node, prefix)
        if weights or module:
            layer = weights[0].removesuffix(".weight") if weights else module
            name = layer
        else:
            name = f"{layer}.{node.op_type.lower()}".lstrip(".")
        node.name = unused_name(taken, name)
        taken.add(node.name)
        for value in node.outputs:
            if value.name not in outputs:
                value.name = f"{node.name}.out" if len(node.outputs) == 1 else f"{node.name}.out{value.index()}"
        for position, value in enumerate(node.inputs):
            if value in constants:
                constants.remove(value)
                value.name = f"{node.name}.input{position}"


def _get_module(node: ir.Node, prefix: str) -> str:
    """Return the innermost module that a node came from, where it has no modules inside; empty where it is unknown."""
    scopes = node.metadata_props.get(SCOPES_KEY)
    if scopes is None:
        return ""
    names: list[str] = ast.literal_eval(scopes)
    classes: list[str] = ast.literal_eval(node.metadata_props.get(CLASSES_KEY, "[]"))
    leaf = len(names) > 1 and len(classes) == len(names) and classes[-2].startswith("torch.nn.")
    return names[-2].removeprefix(prefix) if leaf else ""
