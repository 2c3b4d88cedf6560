"""A small 3-D network whose arithmetic or weights have fewer bits, and faults as small as that rounding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from helpers.graphs import graph, node, normal, save

Arrays = dict[str, NDArray[Any]]
Fault = Callable[[Arrays, dict[str, NodeProto]], object]
Form = Callable[[Arrays, list[NodeProto]], object]
INPUTS = {"x": ("n", 3, 4, 8, 8)}
LAYERS = ("1", "2", "3")


def network(path: Path, form: Form | None = None, fault: Fault | None = None) -> Path:
    """Write a small 3-D network; `form` changes its arithmetic or weights to fewer bits."""
    arrays: Arrays = {
        "w1": normal(8, 3, 3, 3, 3) * np.float32(0.15),
        "w2": normal(12, 8, 3, 3, 3) * np.float32(0.09),
        "w3": normal(5, 12 * 2 * 4 * 4) * np.float32(0.1),
        **{f"b{layer}": normal(size, seed=9) * np.float32(0.1) for layer, size in zip(LAYERS, (8, 12, 5), strict=True)},
    }
    nodes = [
        node("Conv", "x w1 b1", "c1", pads=[1] * 6),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2 b2", "c2", pads=[1] * 6),
        node("Relu", "c2", "r2"),
        node("AveragePool", "r2", "p2", kernel_shape=[2, 2, 2], strides=[2, 2, 2], ceil_mode=0),
        node("Flatten", "p2", "f"),
        node("Gemm", "f w3 b3", "y", transB=1),
    ]
    if fault is not None:
        fault(arrays, {made.output[0]: made for made in nodes})
    if form is not None:
        form(arrays, nodes)
    return save(path, graph(nodes, INPUTS, {"y": ("n", 5)}, arrays, opset=21))


def insert(nodes: list[NodeProto], reader: str, index: int, new: list[NodeProto]) -> None:
    """Insert nodes before the one that makes `reader`, which then reads what the last of them returns."""
    place = next(number for number, made in enumerate(nodes) if made.output[0] == reader)
    nodes[place].input[index] = new[-1].output[0]
    nodes[place:place] = new


def one_cast(_arrays: Arrays, nodes: list[NodeProto]) -> None:
    casts = [node("Cast", "c1", "half", to=TensorProto.FLOAT16), node("Cast", "half", "wide", to=TensorProto.FLOAT)]
    insert(nodes, "r1", 0, casts)


def quantise(arrays: Arrays, nodes: list[NodeProto], value: str, reader: str, scale: float) -> None:
    arrays |= {f"{value}.s": np.array(scale, np.float32), f"{value}.z": np.array(0, np.int8)}
    numbers = f"{value}.s {value}.z"
    pair = [
        node("QuantizeLinear", f"{value} {numbers}", f"{value}.q"),
        node("DequantizeLinear", f"{value}.q {numbers}", f"{value}.dq"),
    ]
    insert(nodes, reader, 0, pair)


def one_pair(arrays: Arrays, nodes: list[NodeProto]) -> None:
    quantise(arrays, nodes, "c1", "r1", 0.04)


def float16(arrays: Arrays, nodes: list[NodeProto]) -> None:
    for name in list(arrays):
        arrays[name] = arrays[name].astype(np.float16)
    insert(nodes, "c1", 0, [node("Cast", "x", "x.half", to=TensorProto.FLOAT16)])
    nodes[-1].output[0] = nodes[-1].name = "y.half"
    nodes.append(node("Cast", "y.half", "y", to=TensorProto.FLOAT))


def stored_int8(arrays: Arrays, nodes: list[NodeProto]) -> None:
    for layer, reader in zip(LAYERS, ("c1", "c2", "y"), strict=True):
        weight = arrays.pop(f"w{layer}").astype(np.float32)
        largest = np.abs(weight).reshape(len(weight), -1).max(1)
        scales = np.where(largest > 0, largest / np.float32(127), np.float32(1))
        levels = np.rint(weight / scales.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8)
        arrays |= {f"w{layer}.q": levels, f"w{layer}.s": scales}
        names = f"w{layer}.q w{layer}.s"
        insert(nodes, reader, 1, [node("DequantizeLinear", names, f"w{layer}.dq", axis=0)])


def half_scales(arrays: Arrays, nodes: list[NodeProto]) -> None:
    """As a converter to float16 leaves a file in int8: the scales were rounded after the levels were found."""
    stored_int8(arrays, nodes)
    for layer, reader in zip(LAYERS, ("c1", "c2", "y"), strict=True):
        arrays[f"w{layer}.s"] = arrays[f"w{layer}.s"].astype(np.float16)
        insert(nodes, reader, 1, [node("Cast", f"w{layer}.dq", f"w{layer}.wide", to=TensorProto.FLOAT)])


def int8(arrays: Arrays, nodes: list[NodeProto]) -> None:
    stored_int8(arrays, nodes)
    for value, reader, scale in (("x", "c1", 0.04), ("r1", "c2", 0.03), ("f", "y", 0.03)):
        quantise(arrays, nodes, value, reader, scale)


def scale(name: str, factor: float) -> Fault:
    def fault(arrays: Arrays, _nodes: dict[str, NodeProto]) -> None:
        arrays[name] = arrays[name] * np.float32(factor)

    return fault


def drop_channel(arrays: Arrays, _nodes: dict[str, NodeProto]) -> None:
    arrays["w2"] = arrays["w2"] * (np.arange(12) != 4).astype(np.float32).reshape(-1, 1, 1, 1, 1)


def leak(_arrays: Arrays, nodes: dict[str, NodeProto]) -> None:
    nodes["r1"].op_type = "LeakyRelu"


FORMS: dict[str, Form] = {
    "one cast": one_cast,
    "one pair": one_pair,
    "float16": float16,
    "int8": int8,
    "stored in int8": stored_int8,
    "scales in float16": half_scales,
}
FAULTS: dict[str, Fault] = {
    "bias missing": scale("b1", 0),
    "bias of the classes": scale("b3", 0.98),
    "a channel dropped": drop_channel,
    "a slope below zero": leak,
}
