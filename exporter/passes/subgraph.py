"""A chain of nodes as a model of its own: what is measured, or compared with float64, apart from the rest."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from exporter.passes.base import constant
from exporter.passes.shapes import infer_shapes, shape_of

INPUT, OUTPUT = "x", "y"


def extract_subgraph(nodes: Sequence[ir.Node], opset: int, size: tuple[int, ...] | None = None) -> ir.Model:
    """Return a model of a chain, each node of which reads the one before and constants.

    Args:
        nodes: of float32, with one output each.
        opset: of the model they stand in.
        size: of the chain's input after its batch, in place of its own.
    """
    source = nodes[0].inputs[0]
    shape = size or (shape_of(source) or ())[1:]
    x = ir.Value(name=INPUT, shape=ir.Shape(["n", *shape]), type=ir.TensorType(ir.DataType.FLOAT))
    value, copies = x, list[ir.Node]()
    initializers: list[ir.Value] = []
    for node in nodes:
        inputs: list[ir.Value | None] = [value]
        for old in node.inputs[1:]:
            if old is None:
                inputs.append(None)
                continue
            copy = ir.Value(name=old.name, shape=old.shape, type=old.type, const_value=_held(old, nodes[0]))
            initializers.append(copy)
            inputs.append(copy)
        copies.append(ir.Node("", node.op_type, inputs, list(node.attributes.values()), num_outputs=1, name=node.name))
        value = copies[-1].outputs[0]
        value.name = f"{node.op_type}.out"
    value.name = OUTPUT
    value.type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([x], [value], nodes=copies, initializers=initializers, opset_imports={"": opset}, name="alone")
    model = ir.Model(graph, ir_version=10)
    infer_shapes(model)
    return model


def _held(value: ir.Value, conv: ir.Node) -> ir.TensorProtocol:
    """Return a weight in memory: a session made from bytes does not find what lies in a file.

    A bias that is not constant is zeros: it changes neither the time nor the rounding that matters.
    """
    tensor = constant(value)
    if tensor is not None:
        return ir.tensor(np.array(tensor.numpy()), name=value.name)
    weight = constant(conv.inputs[1])
    assert weight is not None
    return ir.tensor(np.zeros(weight.shape.numpy()[0], np.float32), name=value.name)
