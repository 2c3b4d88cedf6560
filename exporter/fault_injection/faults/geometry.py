"""Faults in where a convolution or a pool looks: padding, dilation, windows, and layers left out or repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import onnx

from exporter.fault_injection.faults.base import FaultSite, FaultType, plain
from exporter.fault_injection.graph import FaultyGraph, Layer, OriginalGraph, get_attributes, set_attribute

if TYPE_CHECKING:
    import numpy as np

    Generator = np.random.Generator

Pads = list[int]
TIME_AND_SPACE = 3
LOWEST = -3.0e38
"""What a max pool's padding holds: never the largest."""


def _pads(node: onnx.NodeProto, axes: int) -> Pads:
    return list(get_attributes(node).get("pads", [0] * (2 * axes)))


def _axes(graph: OriginalGraph, node: onnx.NodeProto) -> int:
    if node.op_type == "Conv":
        return graph.weights[node.input[1]].ndim - 2
    return len(get_attributes(node)["kernel_shape"])


def _at(
    operator: str,
    inject: Callable[[FaultyGraph, onnx.NodeProto, int], None],
    fits: Callable[[onnx.NodeProto, int], bool] = lambda _node, _axes: True,
) -> Callable[[OriginalGraph], Iterable[FaultSite]]:
    """Plant in each node of an operator that `fits`: (copy, the copy's node, how many axes it slides over)."""

    def at(graph: OriginalGraph, value: str, axes: int) -> FaultSite:
        del graph
        return FaultSite(plain(value), value, lambda copy, _generator: inject(copy, copy.producer(value), axes))

    def find_sites(graph: OriginalGraph) -> Iterable[FaultSite]:
        weights = graph.weights
        for node in graph.nodes(operator):
            if operator == "Conv" and node.input[1] not in weights:
                continue
            axes = _axes(graph, node)
            if fits(node, axes):
                yield at(graph, node.output[0], axes)

    return find_sites


def _padded(node: onnx.NodeProto, axes: int) -> bool:
    return min(_pads(node, axes)) > 0


def _dense(node: onnx.NodeProto, axes: int) -> bool:
    given = get_attributes(node)
    kernel, ones = given.get("kernel_shape", []), [1] * axes
    plain_steps = given.get("dilations", ones) == ones and given.get("strides", ones) == ones
    return _padded(node, axes) and set(kernel) == {3} and plain_steps


def _all_behind(copy: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
    del copy
    pads = _pads(node, axes)
    set_attribute(node, "pads", [0] * axes + [pads[i] + pads[i + axes] for i in range(axes)])


def _causal(copy: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
    del copy
    pads = _pads(node, axes)
    pads[0], pads[axes] = pads[0] + pads[axes], 0
    set_attribute(node, "pads", pads)


def _dilated(copy: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
    del copy
    set_attribute(node, "dilations", [2] * axes)
    set_attribute(node, "pads", [pad + 1 for pad in _pads(node, axes)])


def _padded_by(mode: str) -> Callable[[FaultyGraph, onnx.NodeProto, int], None]:
    def inject(copy: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
        pads = _pads(node, axes)
        whole = copy.constant([0, 0, *pads[:axes], 0, 0, *pads[axes:]], _int64())
        copy.feed(node, lambda copy, x: copy.emit("Pad", x, whole, mode=mode))
        set_attribute(node, "pads", [0] * (2 * axes))

    return inject


def _valid(copy: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
    """Leave the padding in height and width out, and put zeros around the output instead."""
    pads = _pads(node, axes)
    space = [pad if axis % axes >= axes - 2 else 0 for axis, pad in enumerate(pads)]
    whole = copy.constant([0, 0, *space[:axes], 0, 0, *space[axes:]], _int64())
    set_attribute(node, "pads", [pad - outside for pad, outside in zip(pads, space, strict=True)])
    copy.wrap(node.output[0], lambda copy, x: copy.emit("Pad", x, whole))


def _int64() -> type[np.int64]:
    import numpy as np

    return np.int64


def _average(copy: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
    del copy, axes
    kept = [
        attribute for attribute in node.attribute if attribute.name in ("kernel_shape", "strides", "pads", "ceil_mode")
    ]
    node.op_type = "AveragePool"
    del node.attribute[:]
    node.attribute.extend(kept)


def _moved_in_space(copy: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
    _moved(copy, node, axes, range(max(0, axes - 2), axes))


def _moved_in_time(copy: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
    _moved(copy, node, axes, range(1))


def _moved(copy: FaultyGraph, node: onnx.NodeProto, axes: int, which: range) -> None:
    """Put a row in front that never wins, and take one away after."""
    begins = [int(axis in which) for axis in range(axes)]
    extra = copy.constant([0, 0, *begins, 0, 0, *(-begin for begin in begins)], _int64())
    lowest = copy.constant(LOWEST)
    copy.feed(node, lambda copy, x: copy.emit("Pad", x, extra, lowest))


def _pools_over_time(node: onnx.NodeProto, axes: int) -> bool:
    pads = _pads(node, axes)
    return axes == TIME_AND_SPACE and get_attributes(node)["kernel_shape"][0] > 1 and pads[0] == pads[axes] == 0


def _wider(copy: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
    del copy
    kernel, pads = get_attributes(node)["kernel_shape"], _pads(node, axes)
    set_attribute(node, "kernel_shape", [size + 1 for size in kernel])
    set_attribute(node, "pads", pads[:axes] + [pad + 1 for pad in pads[axes:]])


def _first_only(copy: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
    """Take the first number of each window, as a strided slice does."""
    kernel, pads = get_attributes(node)["kernel_shape"], _pads(node, axes)
    set_attribute(node, "kernel_shape", [1] * axes)
    if get_attributes(node).get("ceil_mode"):  # windows may hang over the end, and their first number does not
        set_attribute(node, "ceil_mode", 0)
        ends = pads[axes:]
    else:
        ends = [pads[axes + i] - (kernel[i] - 1) for i in range(axes)]
    whole = copy.constant([0, 0, *pads[:axes], 0, 0, *ends], _int64())
    set_attribute(node, "pads", [0] * (2 * axes))
    copy.feed(node, lambda copy, x: copy.emit("Pad", x, whole))


def _least(copy: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
    del axes
    copy.feed(node, lambda copy, x: copy.emit("Neg", x))
    copy.wrap(node.output[0], lambda copy, x: copy.emit("Neg", x))


def _hangs_over(node: onnx.NodeProto, axes: int) -> bool:
    return bool(get_attributes(node).get("ceil_mode")) or max(_pads(node, axes)) > 0


def _other_convention(copy: FaultyGraph, node: onnx.NodeProto, axes: int) -> None:
    """Turn `symmetric` into `right` and the reverse; see `models.config.Pool5`."""
    del copy
    pads = _pads(node, axes)
    if get_attributes(node).get("ceil_mode"):  # every axis that is halved with a rest gets its padding in front
        set_attribute(node, "ceil_mode", 0)
        set_attribute(node, "pads", [0, *([1] * (axes - 1)), 0, *([1] * (axes - 1))])
    elif pads[:axes] == pads[axes:]:
        set_attribute(node, "pads", [0] * axes + pads[:axes])
    else:
        set_attribute(node, "pads", pads[axes:] + pads[axes:])


def _skipped(graph: OriginalGraph) -> Iterable[FaultSite]:
    """Leave out layers whose output has the shape of their input."""
    for layer in _round_layers(graph):

        def inject(copy: FaultyGraph, _generator: Generator, layer: Layer = layer) -> None:
            node = copy.producer(layer.node)
            node.op_type = "Identity"
            del node.attribute[:], node.input[1:]

        yield FaultSite(layer.name, layer.node, inject)


def _repeated(graph: OriginalGraph) -> Iterable[FaultSite]:
    for layer in _round_layers(graph):

        def inject(copy: FaultyGraph, _generator: Generator, layer: Layer = layer) -> None:
            node = copy.producer(layer.node)
            weights, attributes = list(node.input[1:]), get_attributes(node)
            copy.wrap(layer.node, lambda copy, x: copy.emit(node.op_type, x, *weights, **attributes))

        yield FaultSite(layer.name, layer.node, inject)


def _residual(graph: OriginalGraph) -> Iterable[FaultSite]:
    for layer in _round_layers(graph):

        def inject(copy: FaultyGraph, _generator: Generator, layer: Layer = layer) -> None:
            source = copy.producer(layer.node).input[0]
            copy.wrap(layer.node, lambda copy, x: copy.emit("Add", x, source))

        yield FaultSite(layer.name, layer.node, inject)


def _round_layers(graph: OriginalGraph) -> list[Layer]:
    nodes = {node.output[0]: node for node in graph.nodes("Conv", "Gemm")}
    return [
        layer
        for layer in graph.layers
        if graph.shape(layer)[0] == graph.shape(layer)[1]
        and layer.node in nodes
        and (layer.kind == "linear" or _dense(nodes[layer.node], _axes(graph, nodes[layer.node])))
    ]


GEOMETRY = (
    FaultType("padding all on one side", "TensorFlow's SAME at another stride", _at("Conv", _all_behind, _padded)),
    FaultType(
        "padding of the past only",
        "a causal convolution: a time axis off by one",
        _at("Conv", _causal, lambda n, a: a == TIME_AND_SPACE and _padded(n, a)),
    ),
    FaultType("dilation 2", "a wrong attribute", _at("Conv", _dilated, _dense)),
    FaultType("edges repeated for zeros", "another padding mode", _at("Conv", _padded_by("edge"), _padded)),
    FaultType("edges reflected for zeros", "another padding mode", _at("Conv", _padded_by("reflect"), _padded)),
    FaultType("padding behind the convolution", "a crop put back with zeros", _at("Conv", _valid, _padded)),
    FaultType("average for max pool", "another operator", _at("MaxPool", _average)),
    FaultType("minimum for max pool", "another operator", _at("MaxPool", _least)),
    FaultType("first of each window for the largest", "a strided slice for a pool", _at("MaxPool", _first_only)),
    FaultType(
        "pool windows moved by one in space",
        "windows that start at -1",
        _at("MaxPool", _moved_in_space, lambda n, a: not _hangs_over(n, a)),
    ),
    FaultType(
        "pool windows moved by one in time", "a time axis off by one", _at("MaxPool", _moved_in_time, _pools_over_time)
    ),
    FaultType("pool windows wider by one", "a wrong attribute", _at("MaxPool", _wider)),
    FaultType(
        "pool5 of the other convention",
        "Caffe's ceil mode for PyTorch's padding, or the reverse",
        _at("MaxPool", _other_convention, _hangs_over),
    ),
    FaultType("a layer left out", "a lost node", _skipped),
    FaultType("a layer twice", "a node that was not replaced but added", _repeated),
    FaultType("a layer's input added to its output", "a residual connection", _residual),
)
"""In where a layer looks."""
