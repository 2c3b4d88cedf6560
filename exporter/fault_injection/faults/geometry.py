"""Faults in the windows of convolutions and pools: padding, dilation, kernel; and layers left out or repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import onnx

from exporter.fault_injection.faults.base import (
    FaultType,
    FindSites,
    Generator,
    change_layers,
    change_values,
)
from exporter.fault_injection.graph import FaultyGraph, Layer, OriginalGraph, set_attribute
from exporter.onnx_io.attributes import get_attributes

Pads = list[int]
TIME_AND_SPACE = 3
LOWEST = -3.0e38
"""Padding of a max pool: never the largest value."""


def _get_pads(node: onnx.NodeProto, axes: int) -> Pads:
    return list(get_attributes(node).get("pads", [0] * (2 * axes)))


def _count_axes(graph: OriginalGraph, node: onnx.NodeProto) -> int:
    if node.op_type == "Conv":
        return graph.weights[node.input[1]].ndim - 2
    return len(get_attributes(node)["kernel_shape"])


def _change_nodes(
    operator: str,
    inject: Callable[[FaultyGraph, onnx.NodeProto, int], None],
    fits: Callable[[onnx.NodeProto, int], bool] = lambda _node, _axes: True,
) -> FindSites:
    """Change each node of an operator.

    Args:
        operator: `Conv` or `MaxPool`.
        inject: (faulty copy, its node, number of axes of a window) puts the fault into the node.
        fits: (node, number of axes of a window) -> whether the node can have the fault.
    """

    def values(graph: OriginalGraph) -> Iterable[str]:
        nodes = [node for node in graph.nodes(operator) if operator != "Conv" or node.input[1] in graph.weights]
        return [node.output[0] for node in nodes if fits(node, _count_axes(graph, node))]

    def change(faulty: FaultyGraph, value: str, _: Generator) -> None:
        node = faulty.producer(value)
        inject(faulty, node, _count_axes(faulty.original, node))

    return change_values(values, change)


def _change_pads(change: Callable[[Pads, int], Pads]) -> Callable[[FaultyGraph, onnx.NodeProto, int], None]:
    """Return what changes a node's pads: (pads before and after each axis, number of axes) -> new pads."""
    return lambda _, node, axes: set_attribute(node, "pads", change(_get_pads(node, axes), axes))


def _is_padded(node: onnx.NodeProto, axes: int) -> bool:
    return min(_get_pads(node, axes)) > 0


def _keeps_shape(node: onnx.NodeProto, axes: int) -> bool:
    """Return whether a convolution is of 3 taps with padding 1 on every axis."""
    attributes, ones = get_attributes(node), [1] * axes
    dense = attributes.get("dilations", ones) == ones and attributes.get("strides", ones) == ones
    return dense and _is_padded(node, axes) and set(attributes.get("kernel_shape", [])) == {3}


def _pad_past(pads: Pads, axes: int) -> Pads:
    return [pads[0] + pads[axes], *pads[1:axes], 0, *pads[axes + 1 :]]


def _dilate(faulty: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
    set_attribute(node, "dilations", [2] * axes)
    _change_pads(lambda pads, _: [pad + 1 for pad in pads])(faulty, node, axes)


def _emit_pad(faulty: FaultyGraph, x: str, pads: Pads, value: str = "", **attributes: str) -> str:
    """Add a Pad node; `pads` are of the axes after batch and channel."""
    axes = len(pads) // 2
    constant = faulty.constant([0, 0, *pads[:axes], 0, 0, *pads[axes:]], np.int64)
    return faulty.emit("Pad", x, constant, *([value] if value else []), **attributes)


def _pad_by(mode: str) -> Callable[[FaultyGraph, onnx.NodeProto, int], None]:
    def inject(faulty: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
        pads = _get_pads(node, axes)
        faulty.feed(node, lambda faulty, x: _emit_pad(faulty, x, pads, mode=mode))
        set_attribute(node, "pads", [0] * (2 * axes))

    return inject


def _pad_output(faulty: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
    """Replace the padding in height and width by zeros around the output."""
    pads = _get_pads(node, axes)
    space = [pad if axis % axes >= axes - 2 else 0 for axis, pad in enumerate(pads)]
    set_attribute(node, "pads", [pad - outside for pad, outside in zip(pads, space, strict=True)])
    faulty.wrap(node.output[0], lambda faulty, x: _emit_pad(faulty, x, space))


def _average(_faulty: FaultyGraph, node: onnx.NodeProto, _axes: int) -> None:
    kept = [item for item in node.attribute if item.name in ("kernel_shape", "strides", "pads", "ceil_mode")]
    node.op_type = "AveragePool"
    del node.attribute[:]
    node.attribute.extend(kept)


def _shift(is_shifted: Callable[[int, int], bool]) -> Callable[[FaultyGraph, onnx.NodeProto, int], None]:
    """Return what adds a row before, which is never the largest, and removes one after, on axes (index, number)."""

    def inject(faulty: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
        begins = [int(is_shifted(axis, axes)) for axis in range(axes)]
        pads = [*begins, *(-begin for begin in begins)]
        faulty.feed(node, lambda faulty, x: _emit_pad(faulty, x, pads, faulty.constant(LOWEST)))

    return inject


def _pools_time(node: onnx.NodeProto, axes: int) -> bool:
    pads = _get_pads(node, axes)
    return axes == TIME_AND_SPACE and get_attributes(node)["kernel_shape"][0] > 1 and pads[0] == pads[axes] == 0


def _widen(faulty: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
    set_attribute(node, "kernel_shape", [size + 1 for size in get_attributes(node)["kernel_shape"]])
    _change_pads(lambda pads, axes: pads[:axes] + [pad + 1 for pad in pads[axes:]])(faulty, node, axes)


def _take_first(faulty: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
    """Take the first value of each window, as a strided slice does."""
    kernel, pads = get_attributes(node)["kernel_shape"], _get_pads(node, axes)
    set_attribute(node, "kernel_shape", [1] * axes)
    if get_attributes(node).get("ceil_mode"):  # a window may exceed the end, but its first value does not
        set_attribute(node, "ceil_mode", 0)
        ends = pads[axes:]
    else:
        ends = [pads[axes + i] - (kernel[i] - 1) for i in range(axes)]
    set_attribute(node, "pads", [0] * (2 * axes))
    faulty.feed(node, lambda faulty, x: _emit_pad(faulty, x, [*pads[:axes], *ends]))


def _take_least(faulty: FaultyGraph, node: onnx.NodeProto, _axes: int) -> None:
    faulty.feed(node, lambda faulty, x: faulty.emit("Neg", x))
    faulty.wrap(node.output[0], lambda faulty, x: faulty.emit("Neg", x))


def _exceeds_input(node: onnx.NodeProto, axes: int) -> bool:
    return bool(get_attributes(node).get("ceil_mode")) or max(_get_pads(node, axes)) > 0


def _swap_convention(_faulty: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
    """Let the windows exceed the input at the end instead of on both sides, and the reverse."""
    pads = _get_pads(node, axes)
    if get_attributes(node).get("ceil_mode"):  # the first axis, time, is taken to be divisible by the stride
        set_attribute(node, "ceil_mode", 0)
        set_attribute(node, "pads", [0, *([1] * (axes - 1)), 0, *([1] * (axes - 1))])
    elif pads[:axes] == pads[axes:]:
        set_attribute(node, "pads", [0] * axes + pads[:axes])
    else:
        set_attribute(node, "pads", pads[axes:] + pads[axes:])


def _drop_layer(faulty: FaultyGraph, layer: Layer, _: Generator) -> None:
    node = faulty.producer(layer.node)
    node.op_type = "Identity"
    del node.attribute[:], node.input[1:]


def _repeat_layer(faulty: FaultyGraph, layer: Layer, _: Generator) -> None:
    node = faulty.producer(layer.node)
    weights, attributes = list(node.input[1:]), get_attributes(node)
    faulty.wrap(layer.node, lambda faulty, x: faulty.emit(node.op_type, x, *weights, **attributes))


def _add_input(faulty: FaultyGraph, layer: Layer, _: Generator) -> None:
    source = faulty.producer(layer.node).input[0]
    faulty.wrap(layer.node, lambda faulty, x: faulty.emit("Add", x, source))


def _same_shape(graph: OriginalGraph, layer: Layer) -> bool:
    """Return whether a layer's output has the shape of its input."""
    node = next((node for node in graph.nodes("Conv", "Gemm") if node.output[0] == layer.node), None)
    outputs, inputs = graph.shape(layer)[:2]
    if node is None or outputs != inputs:
        return False
    return layer.kind == "linear" or _keeps_shape(node, _count_axes(graph, node))


GEOMETRY = (
    FaultType(
        "padding only at the end",
        "TensorFlow's SAME at another stride",
        _change_nodes(
            "Conv",
            _change_pads(lambda pads, axes: [0] * axes + [pads[i] + pads[i + axes] for i in range(axes)]),
            _is_padded,
        ),
    ),
    FaultType(
        "padding only of the past",
        "a causal convolution: a time axis off by one",
        _change_nodes("Conv", _change_pads(_pad_past), lambda n, a: a == TIME_AND_SPACE and _is_padded(n, a)),
    ),
    FaultType("dilation 2", "a wrong attribute", _change_nodes("Conv", _dilate, _keeps_shape)),
    FaultType("edge padding for zeros", "another padding mode", _change_nodes("Conv", _pad_by("edge"), _is_padded)),
    FaultType(
        "reflect padding for zeros", "another padding mode", _change_nodes("Conv", _pad_by("reflect"), _is_padded)
    ),
    FaultType(
        "padding after the convolution", "an output resized with zeros", _change_nodes("Conv", _pad_output, _is_padded)
    ),
    FaultType("average for max pool", "another operator", _change_nodes("MaxPool", _average)),
    FaultType("minimum for max pool", "another operator", _change_nodes("MaxPool", _take_least)),
    FaultType("first value for max pool", "a strided slice for a pool", _change_nodes("MaxPool", _take_first)),
    FaultType(
        "pool windows shifted by one in space",
        "windows that start at -1",
        _change_nodes("MaxPool", _shift(lambda axis, axes: axis >= axes - 2), lambda n, a: not _exceeds_input(n, a)),
    ),
    FaultType(
        "pool windows shifted by one in time",
        "a time axis off by one",
        _change_nodes("MaxPool", _shift(lambda axis, _: axis == 0), _pools_time),
    ),
    FaultType("pool windows wider by one", "a wrong attribute", _change_nodes("MaxPool", _widen)),
    FaultType(
        "pool padding of the other convention",
        "Caffe's ceil mode for PyTorch's padding, or the reverse",
        _change_nodes("MaxPool", _swap_convention, _exceeds_input),
    ),
    FaultType("a layer left out", "a lost node", change_layers(_drop_layer, _same_shape)),
    FaultType("a layer twice", "a node added instead of replaced", change_layers(_repeat_layer, _same_shape)),
    FaultType("a layer's input added to its output", "a residual connection", change_layers(_add_input, _same_shape)),
)
"""Faults in the windows of layers."""
