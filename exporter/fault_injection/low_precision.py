"""A network in float32, with a fault or without, as an ONNX file that computes in fewer bits.

The weight of every convolution is stored in fewer bits, and its input is rounded: a cast to float16 and back, or
`QuantizeLinear` and `DequantizeLinear`. So the file shows any fault beside the rounding of its precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from numpy.typing import NDArray

LowPrecision = Literal["float16", "int8"]
INPUT_RANGE = 8.0
"""The largest input of a layer that int8 represents: random numbers of deviation 1 and sums of them are smaller."""
LEVELS = 127
HIDDEN_BY_ROUNDING = frozenset(
    {
        "largest weight off by 1 %",
        "a random weight off by 1 %",
        "a middle mantissa bit flipped",
        "the lowest mantissa bit flipped",
        "weights rounded to bfloat16",
        "weights rounded to float16",
        "weights rounded to 8 bits",
        "weights rounded to 8 bits, by channel",
        "bias rounded to float16",
        "activations rounded",
        "pixels rounded",
        "rounded to three decimals",
    }
)
"""Fault types that are rounding themselves, or so small that the rounded numbers may be the same."""


def write_low(path: Path, precision: LowPrecision, copy: Path) -> Path:
    """Write a network as a file that computes in fewer bits, and return its path.

    Args:
        path: an ONNX file in float32.
        precision: what the copy computes in.
        copy: where to.
    """
    model = onnx.load(path)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    changed: dict[str, str] = {}
    for number, node in enumerate(graph.node):
        if node.op_type == "Conv" and not node.domain:
            prefix = f"low.{number}"
            nodes += _round_input(node, precision, prefix, graph.initializer)
            weight = weights.get(node.input[1])
            if weight is not None and weight.data_type == TensorProto.FLOAT:
                if weight.name not in changed:
                    nodes += _store(numpy_helper.to_array(weight), precision, prefix, graph.initializer)
                    changed[weight.name] = f"{prefix}.weight"
                node.input[1] = changed[weight.name]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    copy.write_bytes(model.SerializeToString())
    return copy


def _round_input(node: NodeProto, precision: LowPrecision, prefix: str, initializers: Any) -> list[NodeProto]:
    source, low, rounded = node.input[0], f"{prefix}.low", f"{prefix}.input"
    node.input[0] = rounded
    if precision == "float16":
        return [_cast(source, low, TensorProto.FLOAT16), _cast(low, rounded, TensorProto.FLOAT)]
    _add(initializers, {f"{prefix}.s": np.array(INPUT_RANGE / LEVELS, np.float32), f"{prefix}.z": np.array(0, np.int8)})
    pair = [f"{prefix}.s", f"{prefix}.z"]
    return [
        helper.make_node("QuantizeLinear", [source, *pair], [low], low),
        helper.make_node("DequantizeLinear", [low, *pair], [rounded], rounded),
    ]


def _store(weight: NDArray[Any], precision: LowPrecision, prefix: str, initializers: Any) -> list[NodeProto]:
    low, name = f"{prefix}.weight.low", f"{prefix}.weight"
    with np.errstate(over="ignore", invalid="ignore"):
        if precision == "float16":
            _add(initializers, {low: weight.astype(np.float16)})
            return [_cast(low, name, TensorProto.FLOAT)]
        largest = np.nan_to_num(np.abs(weight), posinf=0.0).reshape(len(weight), -1).max(1)
        scale = np.where(largest > 0, largest / np.float32(LEVELS), np.float32(1))
        levels = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    levels = np.nan_to_num(levels, nan=0.0, posinf=LEVELS, neginf=-LEVELS).clip(-LEVELS, LEVELS)
    _add(initializers, {low: levels.astype(np.int8), f"{low}.s": scale.astype(np.float32)})
    return [helper.make_node("DequantizeLinear", [low, f"{low}.s"], [name], name, axis=0)]


def _cast(source: str, result: str, dtype: int) -> NodeProto:
    return helper.make_node("Cast", [source], [result], result, to=dtype)


def _add(initializers: Any, values: Mapping[str, NDArray[Any]]) -> None:
    initializers.extend(numpy_helper.from_array(value, name) for name, value in values.items())
