"""A chain of nodes as a model of its own, to be measured or compared with float64."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from exporter.passes.graph import constant, get_shape, infer_shapes, read_array

INPUT_NAME, OUTPUT = "x", "y"


def extract_subgraph(nodes: Sequence[ir.Node], opset: int, size: tuple[int, ...] | None = None) -> ir.Model:
    """Return a model of a chain, each node of which reads the one before and constants.

    Nodes and constants are named by their place in the chain, so that equal layers of a network are equal models.

    Args:
        nodes: float32 nodes with one output each, in order.
        opset: the opset of their model.
        size: the input's shape without the batch axis; None for the inferred one.
    """
    source = nodes[0].inputs[0]
    shape = size or (get_shape(source) or ())[1:]
    x = ir.Value(name=INPUT_NAME, shape=ir.Shape(["n", *shape]), type=ir.TensorType(ir.DataType.FLOAT))
    value, copies = x, list[ir.Node]()
    initializers: list[ir.Value] = []
    for place, node in enumerate(nodes):
        inputs: list[ir.Value | None] = [value]
        for old in node.inputs[1:]:
            if old is None:
                inputs.append(None)
                continue
            name = f"constant{len(initializers)}"
            copy = ir.Value(name=name, shape=old.shape, type=old.type, const_value=_load(old, node, name))
            initializers.append(copy)
            inputs.append(copy)
        name = f"{node.op_type}{place}"
        attributes = [node.attributes[key] for key in sorted(node.attributes)]
        copies.append(ir.Node("", node.op_type, inputs, attributes, num_outputs=1, name=name))
        value = copies[-1].outputs[0]
        value.name = f"{name}.out"
    value.name = OUTPUT
    value.type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([x], [value], nodes=copies, initializers=initializers, opset_imports={"": opset}, name="subgraph")
    model = ir.Model(graph, ir_version=10)
    infer_shapes(model)
    return model


def _load(value: ir.Value, conv: ir.Node, name: str) -> ir.TensorProtocol:
    """Return a weight in memory: a session made from bytes does not find external data.

    A bias that is not constant becomes zeros, which changes neither the time nor the rounding noticeably.
    """
    bias = np.zeros(len(read_array(conv.inputs[1])), np.float32)
    return ir.tensor(bias if constant(value) is None else read_array(value).copy(), name=name)
