"""Models with one fault: weights or one of them that are wrong, another operator or attribute, swapped inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, numpy_helper

FACTOR = 1.01
CHANGES: dict[str, float] = {"alpha": 1.05, "beta": 1.05, "epsilon": 30.0}
"""{attribute of floating-point type: what it is multiplied by}."""
FLAGS = frozenset({"count_include_pad", "ceil_mode", "transB", "keepdims"})


SWAPS = {
    **{"Add": "Sub", "Sub": "Add", "Mul": "Add", "Max": "Min", "Min": "Max", "ReduceMean": "ReduceMax", "Relu": "Abs"},
    **{"Sigmoid": "HardSigmoid", "Tanh": "Softsign", "Elu": "Relu", "LeakyRelu": "Relu", "ArgMax": "ArgMin"},
    **{"GlobalAveragePool": "GlobalMaxPool", "Greater": "Less", "Less": "Greater"},
}
"""{operator: one that takes the same inputs}."""
ORDERED = frozenset({"Sub", "Div", "Concat", "MatMul", "Where", "Greater", "Less"})
"""Operators whose last two inputs can change places."""
ONE_FACTOR = 1.5


def mutate(model: onnx.ModelProto, seed: int) -> tuple[onnx.ModelProto, str] | None:
    """Return a copy of a model with one fault, and the fault in words; None where there is nothing to change."""
    rng = np.random.default_rng(seed)
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    faults = [fault for kind in (_scale_weights, _change_attribute, _change_node) for fault in kind(copy, rng)]
    ways = sorted({way for way, *_ in faults})
    if not ways:
        return None
    way = ways[int(rng.integers(len(ways)))]
    suited = [fault for fault in faults if fault[0] == way]
    _, text, change = suited[int(rng.integers(len(suited)))]
    change()
    return copy, text


Fault = tuple[str, str, Callable[[], None]]
"""Its kind, what it is in words, and what plants it."""


def _scale_weights(copy: onnx.ModelProto, rng: np.random.Generator) -> Iterator[Fault]:
    for held in copy.graph.initializer:
        array = numpy_helper.to_array(held)
        if array.dtype.kind != "f" or not held.dims or not array.size:
            continue
        factor = array.dtype.type(FACTOR)
        yield "weights", f"{held.name} times {FACTOR}", partial(_replace, held, (array * factor).astype(array.dtype))
        one = array.copy()
        one.reshape(-1)[int(rng.integers(one.size))] *= array.dtype.type(ONE_FACTOR)
        yield "one weight", f"one of {held.name} times {ONE_FACTOR}", partial(_replace, held, one)


def _replace(held: onnx.TensorProto, array: NDArray[Any]) -> None:
    held.CopyFrom(numpy_helper.from_array(array, held.name))


def _change_attribute(copy: onnx.ModelProto, rng: np.random.Generator) -> Iterator[Fault]:
    del rng
    for node in copy.graph.node:
        for attribute in node.attribute:
            if attribute.name in CHANGES or attribute.name in FLAGS or attribute.name in ("pads", "nearest_mode"):
                yield "attribute", f"{attribute.name} of {node.op_type}", partial(_alter, attribute)


def _alter(attribute: onnx.AttributeProto) -> None:
    if attribute.type == AttributeProto.FLOAT:
        attribute.f *= CHANGES[attribute.name]
    elif attribute.type == AttributeProto.STRING:
        attribute.s = b"ceil" if attribute.s == b"floor" else b"floor"
    elif attribute.type == AttributeProto.INTS:
        half = len(attribute.ints) // 2
        attribute.ints[:] = [*attribute.ints[half:], *attribute.ints[:half]]  # before and after change places
    else:
        attribute.i = 1 - attribute.i


def _change_node(copy: onnx.ModelProto, rng: np.random.Generator) -> Iterator[Fault]:
    del rng
    for node in copy.graph.node:
        if node.op_type in SWAPS and not node.attribute:
            yield "operator", f"{SWAPS[node.op_type]} for {node.op_type}", partial(_rename, node)
        if node.op_type in ORDERED and node.input[-1] != node.input[-2]:
            yield "inputs", f"the inputs of {node.op_type} changed places", partial(_swap_inputs, node)


def _rename(node: onnx.NodeProto) -> None:
    node.op_type = SWAPS[node.op_type]


def _swap_inputs(node: onnx.NodeProto) -> None:
    node.input[-2:] = [node.input[-1], node.input[-2]]
