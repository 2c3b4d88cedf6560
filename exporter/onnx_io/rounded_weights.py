"""The weights that an ONNX file holds in fewer bits than float32, and which number each of them stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import NodeProto, TensorProto

from exporter.onnx_io.attributes import get_attributes
from exporter.onnx_io.file_graph import FileGraph
from exporter.onnx_io.stored_weights import HALVES

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTEGERS = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32)
OPERANDS = {"QLinearConv": ((3, 4, 5),), "QLinearMatMul": ((0, 1, 2), (3, 4, 5)), "QGemm": ((0, 1, 2), (3, 4, 5))}
"""{operator: the positions of each operand, its scale and its zero point}."""
BIASES = {"QLinearConv": 8, "QGemm": 6}
"""{operator: the position of its bias, whose scale is the product of those of its operands}."""
OPERAND_SCALES = (1, 4)
HALF_BYTES = 2
"""Of a number in half precision, float16 or bfloat16."""
INTEGER_PRODUCTS = ("ConvInteger", "MatMulInteger")


@dataclass(frozen=True)
class RoundedWeight:
    """A weight in fewer bits than float32.

    Attributes:
        name: the initialiser or Constant node's output.
        values: its numbers, or levels.
        scale: of levels: what one is, in a shape that broadcasts to `values`; None of floating-point numbers, and where
            no scale is stated.
        zero_point: of levels: the one that stands for 0, likewise; None for 0.
        is_initializer: whether it is an initialiser of the main graph.
        block: how many levels along `axis` share a scale; 0 where the shape of `scale` says it.
        axis: see `block`.
        free_scale: whether the scale was chosen for this weight, and not, as of a bias, for others.
        scale_error: half a unit in the last place of a scale in half precision, relative to it, in the scale's shape.
    """

    name: str
    values: NDArray[Any]
    scale: NDArray[Any] | None
    zero_point: NDArray[Any] | None
    is_initializer: bool
    block: int = 0
    axis: int = 0
    free_scale: bool = True
    scale_error: NDArray[Any] | float = 0.0

    @property
    def is_float(self) -> bool:
        """Whether it holds numbers, and not levels."""
        return self.values.dtype.kind not in "iu"


@dataclass(frozen=True)
class _Levels:
    """How one node reads levels: the names of the scales, whose product counts, and of the zero point.

    Scales that the result of a convolution or product is multiplied by (`of_result`) have its axes, not the weight's.
    """

    scales: tuple[str, ...]
    zero_point: str
    axis: int
    block: int = 0
    of_result: bool = False


def read_rounded_weights(path: Path) -> Iterator[RoundedWeight]:
    """Yield every weight and constant of a model that it holds in half precision or as levels; scales are none.

    Raises:
        ArtifactError: unreadable, or not ONNX.
    """
    graph = FileGraph.load(path)
    levels = {
        name: found
        for name, tensor in graph.tensors.items()
        if tensor.data_type in INTEGERS
        for found in [_find_levels(name, graph.readers.get(name, []), graph)]
        if found is not None
    }
    scales = {name for found in levels.values() for name in found.scales}
    in_half = [name for name, tensor in graph.tensors.items() if tensor.data_type in HALVES and name in graph.readers]
    halves = [name for name in in_half if name not in scales]
    constants = {name for found in levels.values() for name in (*found.scales, found.zero_point)}
    numbers = dict(graph.read(constants & graph.tensors.keys()))
    initializers = {tensor.name for tensor in graph.model.graph.initializer}
    for name, values in graph.read(dict.fromkeys((*halves, *levels))):
        scale, zero_point = _spread(levels.get(name), numbers, values)
        found = levels.get(name, _Levels((), "", 0))
        yield RoundedWeight(
            name,
            values,
            scale,
            zero_point,
            name in initializers,
            found.block,
            found.axis,
            values.dtype != np.int32,
            0.0 if scale is None else _scale_error(found, numbers, values),
        )


def _find_levels(name: str, nodes: Sequence[NodeProto], graph: FileGraph) -> _Levels | None:
    """Return how the nodes that read a tensor take it as levels; None where one does not."""
    found = {_levels(node, name, graph) for node in nodes}
    if not found or None in found:
        return None
    first = found.pop()
    return first if not found else _Levels((), "", 0)


def _levels(node: NodeProto, name: str, graph: FileGraph) -> _Levels | None:
    inputs, attributes = [*node.input], get_attributes(node)
    if node.op_type == "DequantizeLinear" and inputs[0] == name:
        zero_point = inputs[2] if len(inputs) > 2 else ""
        return _Levels((inputs[1],), zero_point, int(attributes.get("axis", 1)), int(attributes.get("block_size", 0)))
    for operand, scale, zero_point in OPERANDS.get(node.op_type, ()):
        if inputs[operand] == name:
            last = node.op_type == "QLinearMatMul" or (node.op_type == "QGemm" and not attributes.get("transB", 0))
            return _Levels((inputs[scale],), inputs[zero_point], -1 if last else 0)
    bias = BIASES.get(node.op_type, len(inputs))
    if bias < len(inputs) and inputs[bias] == name:
        return _Levels(
            tuple(inputs[number] for number in OPERAND_SCALES), "", 0 if node.op_type == "QLinearConv" else -1
        )
    if node.op_type in INTEGER_PRODUCTS and name in inputs[:2]:
        zero_point = 2 + inputs.index(name)
        axis = 0 if node.op_type == "ConvInteger" else -1
        zeros = inputs[zero_point] if zero_point < len(inputs) else ""
        return _Levels(_product_scale(node, graph), zeros, axis, of_result=True)
    if node.op_type == "Cast" and len(graph.tensors[name].dims) > 1:
        products = [each for each in graph.readers.get(node.output[0], []) if each.op_type == "Mul"]
        scales = [other for each in products for other in each.input if other != node.output[0]]
        return _Levels((scales[0],), "", -1) if len(scales) == 1 and scales[0] in graph.tensors else None
    return None


def _product_scale(node: NodeProto, graph: FileGraph) -> tuple[str, ...]:
    """Return the scale of the weight in `Mul(Cast(product), Mul(scale of the input, scale))`; () without one."""
    value, others = node.output[0], list[str]()
    for operator in ("Cast", "Mul"):
        found = graph.readers.get(value, [])
        if len(found) != 1 or found[0].op_type != operator:
            return ()
        value, others = found[0].output[0], [name for name in found[0].input if name != value]
    scales = graph.producers.get(others[0]) if others else None
    if scales is None or scales.op_type != "Mul":
        return ()
    constants = tuple(name for name in scales.input if name in graph.tensors)
    return constants if len(constants) == 1 else ()


def _spread(
    levels: _Levels | None, numbers: dict[str, NDArray[Any]], values: NDArray[Any]
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Return scale and zero point in shapes that broadcast to the values; none where they have no such shape."""
    if levels is None or not levels.scales or any(name not in numbers for name in levels.scales):
        return None, None
    if levels.zero_point and levels.zero_point not in numbers:
        return None, None
    scale = np.asarray(1.0)
    for name in levels.scales:
        scale = scale * _shape(numbers[name].astype(np.float64), levels, values)
    zeros = _shape(numbers[levels.zero_point], levels, values) if levels.zero_point else None
    if not all(_broadcasts(each, values) for each in (scale, zeros) if each is not None):
        return None, None
    return scale, zeros


def _broadcasts(numbers: NDArray[Any], values: NDArray[Any]) -> bool:
    """Return whether numbers broadcast to the values' shape: scales of a larger product do not."""
    sizes = zip(reversed(numbers.shape), reversed(values.shape), strict=False)
    return numbers.ndim <= values.ndim and all(own in (1, size) for own, size in sizes)


def _scale_error(levels: _Levels, numbers: dict[str, NDArray[Any]], values: NDArray[Any]) -> NDArray[Any] | float:
    """Return half a unit in the last place of scales in half precision, relative to them; see `RoundedWeight`."""
    found: NDArray[Any] | float = 0.0
    for scale in (numbers[name] for name in levels.scales):
        if scale.dtype.itemsize == HALF_BYTES:
            sizes = np.abs(scale.astype(np.float64))
            units = np.spacing(np.abs(scale)).astype(np.float64)
            found = found + _shape(units / np.where(sizes > 0, 2 * sizes, np.inf), levels, values)
    return found


def _shape(numbers: NDArray[Any], levels: _Levels, values: NDArray[Any]) -> NDArray[Any]:
    if numbers.size == 1:
        return numbers.reshape(())
    if levels.block:
        return np.take(np.repeat(numbers, levels.block, levels.axis), np.arange(values.shape[levels.axis]), levels.axis)
    if levels.of_result and values.ndim > 0 and numbers.size == values.shape[levels.axis]:
        numbers = numbers.reshape(-1)
    if numbers.ndim > 1 or values.ndim == 0:
        return numbers
    shape = [1] * values.ndim
    shape[levels.axis] = -1
    return numbers.reshape(shape)
