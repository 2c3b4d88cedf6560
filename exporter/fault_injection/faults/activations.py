"""Faults in what follows a layer: activation functions, normalisation, dropout, rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.fault_injection.faults.base import FaultSite, FaultType, find_outputs, insert_after, plain
from exporter.fault_injection.graph import FaultyGraph, Layer, OriginalGraph, set_attribute

if TYPE_CHECKING:
    Generator = np.random.Generator

EPSILON, OTHER_EPSILON = 1e-5, 1e-3
"""BatchNorm's in PyTorch and in Keras."""
LEVELS = 64.0
SIX = 6.0


def _relus(inject: Callable[[FaultyGraph, str], None]) -> Callable[[OriginalGraph], Iterable[FaultSite]]:
    def at(value: str) -> FaultSite:
        return FaultSite(plain(value), value, lambda copy, _generator: inject(copy, value))

    return lambda graph: [at(node.output[0]) for node in graph.nodes("Relu")]


def _becomes(operator: str, **attributes: Any) -> Callable[[OriginalGraph], Iterable[FaultSite]]:
    def inject(copy: FaultyGraph, value: str) -> None:
        node = copy.producer(value)
        node.op_type = operator
        for name, number in attributes.items():
            set_attribute(node, name, number)

    return _relus(inject)


def _clipped(copy: FaultyGraph, x: str, _generator: Generator) -> str:
    return copy.emit("Min", x, copy.constant(SIX))


def _in_front_of_the_bias(graph: OriginalGraph) -> Iterable[FaultSite]:
    """Move a ReLU between a layer's product and its bias."""
    for layer in graph.layers:
        relu = next((node for node in graph.nodes("Relu") if node.input[0] == layer.value), None)
        if relu is None or layer.bias is None or layer.node != layer.value:
            continue

        def inject(copy: FaultyGraph, _generator: Generator, layer: Layer = layer, relu: str = relu.output[0]) -> None:
            bias = np.array(copy.original.weights[str(layer.bias)])
            shape = (1, -1, *([1] * (copy.original.weights[layer.weight].ndim - 2)))
            del copy.producer(layer.value).input[2:]
            copy.wrap(relu, lambda copy, x: copy.emit("Add", x, copy.constant(bias.reshape(shape))))

        yield FaultSite(layer.name, layer.value, inject)


def _other_epsilon(graph: OriginalGraph) -> Iterable[FaultSite]:
    """Put a BatchNorm after each convolution that is an identity with the one epsilon, and has the other."""

    def at(layer: Layer) -> FaultSite:
        def build(copy: FaultyGraph, x: str, _generator: Generator) -> str:
            width = copy.original.weights[layer.weight].shape[0]
            one, zero = np.ones(width), np.zeros(width)
            stats = (copy.constant(array) for array in (one, zero, zero, one * (1 - EPSILON)))
            return copy.emit("BatchNormalization", x, *stats, epsilon=OTHER_EPSILON)

        (place,) = insert_after(lambda _graph: [layer.value], build)(graph)
        return place

    return [at(layer) for layer in graph.layers if layer.kind == "conv"]


def _linear_activations(graph: OriginalGraph) -> Iterable[str]:
    linear = {layer.value for layer in graph.layers if layer.kind == "linear"}
    return [node.output[0] for node in graph.nodes("Relu") if node.input[0] in linear]


def _dropout(graph: OriginalGraph) -> Iterable[FaultSite]:
    """Multiply by a fixed draw of Dropout(0.5)'s mask, so that every engine sees the same."""
    widths = {layer.value: graph.shape(layer)[0] for layer in graph.layers if layer.kind == "linear"}
    sources = {node.output[0]: node.input[0] for node in graph.nodes("Relu")}
    for value in _linear_activations(graph):

        def build(copy: FaultyGraph, x: str, generator: Generator, width: int = widths[sources[value]]) -> str:
            return copy.emit("Mul", x, copy.constant(generator.integers(0, 2, (1, width)) * 2))

        yield from insert_after(lambda _graph, value=value: [value], build)(graph)


def _rounded(copy: FaultyGraph, x: str, _generator: Generator) -> str:
    levels = copy.constant(LEVELS)
    return copy.emit("Div", copy.emit("Round", copy.emit("Mul", x, levels)), levels)


ACTIVATIONS = (
    FaultType("ReLU dropped", "an activation lost in a conversion", _relus(lambda copy, value: copy.drop(value))),
    FaultType("ReLU moved in front of the bias", "layers in another order", _in_front_of_the_bias),
    FaultType("leaky ReLU for ReLU", "another activation", _becomes("LeakyRelu", alpha=0.01)),
    FaultType("ELU for ReLU", "another activation", _becomes("Elu", alpha=1.0)),
    FaultType("softplus for ReLU", "another activation", _becomes("Softplus")),
    FaultType("tanh for ReLU", "another activation", _becomes("Tanh")),
    FaultType("absolute value for ReLU", "another activation", _becomes("Abs")),
    FaultType("ReLU that ends at 6", "another activation (ReLU6)", insert_after(find_outputs("Relu"), _clipped)),
    FaultType("BatchNorm with another epsilon", "1e-3 (Keras) for 1e-5 (PyTorch)", _other_epsilon),
    FaultType("dropout left on", "an export in training mode", _dropout),
    FaultType(
        "dropout's factor applied",
        "weights scaled by the keeping probability",
        insert_after(_linear_activations, lambda copy, x, _: copy.emit("Mul", x, copy.constant(0.5))),
    ),
    FaultType("activations rounded", "activations of few bits", insert_after(find_outputs("Relu"), _rounded)),
    FaultType(
        "activations moved by 0.001",
        "a zero point",
        insert_after(find_outputs("Relu"), lambda copy, x, _: copy.emit("Add", x, copy.constant(0.001))),
    ),
)
"""Behind the layers."""
