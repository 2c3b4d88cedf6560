"""If and Loop, whose graphs read values and weights of the graph around them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from helpers.random_graphs.graph import RandomGraph


def branch(g: RandomGraph) -> None:
    """If on a number of the value, or on a constant, with weights of the graph outside in both branches."""
    x = g.value(lambda x: x.ndim >= 2)
    shared = g.weight(g.rng.uniform(0.5, 2, g.shape(x)[-1]).astype(np.float32), plain=True)
    total = g.op("ReduceMax", [x], keepdims=0)
    asked = g.op("Greater", [total, g.weight(np.array(0.5, np.float32), plain=True)])
    if g.chance(0.3):
        asked = g.initializer(np.array(g.chance(0.5)))
    branches = []
    for operator in ("Mul", "Add"):
        nodes, out = _layers(g, x, shared, operator)
        branches.append(helper.make_graph(nodes, g.name("branch"), [], [onnx.ValueInfoProto(name=out)]))
    g.op("If", [asked], then_branch=branches[0], else_branch=branches[1])


def loop(g: RandomGraph) -> None:
    """Loop with one carried value and a constant number of rounds; perhaps every round's value is returned too."""
    x = g.value(lambda x: x.ndim >= 2)
    shared = g.weight(g.rng.uniform(-0.5, 0.5, g.shape(x)[-1]).astype(np.float32), plain=True)
    carried, going, again = g.name("carried"), g.name("going"), g.name("again")
    nodes, out = _layers(g, carried, shared, g.pick(("Mul", "Add")))
    nodes.append(helper.make_node("Identity", [going], [again]))
    kind = helper.np_dtype_to_tensor_dtype(g.values[x][0].dtype)
    inputs = [
        helper.make_tensor_value_info(g.name("round"), TensorProto.INT64, []),
        helper.make_tensor_value_info(going, TensorProto.BOOL, []),
        helper.make_tensor_value_info(carried, kind, [None] * len(g.shape(x))),
    ]
    outputs = [
        helper.make_tensor_value_info(again, TensorProto.BOOL, []),
        helper.make_tensor_value_info(out, kind, [None] * len(g.shape(x))),
    ]
    if g.chance(0.3):
        scanned = g.name("scanned")
        nodes.append(helper.make_node("Identity", [out], [scanned]))
        outputs.append(helper.make_tensor_value_info(scanned, kind, [None] * len(g.shape(x))))
    body = helper.make_graph(nodes, g.name("body"), inputs, outputs)
    rounds, condition = g.initializer(np.array(g.number(1, 3))), g.initializer(np.array(True))
    g.op("Loop", [rounds, condition, x], len(outputs) - 1, body=body)


def _layers(g: RandomGraph, x: str, shared: str, operator: str) -> tuple[list[onnx.NodeProto], str]:
    inner, out = g.name("inner"), g.name("out")
    nodes = [
        helper.make_node(operator, [x, shared], [inner]),
        helper.make_node(g.pick(("Relu", "Tanh", "LeakyRelu")), [inner], [out]),
    ]
    return nodes, out


CONTROL_FLOW = (branch, loop)
"""Rare: passes leave models with them mostly unchanged."""
