"""Faults after a layer: activation functions, normalisation, dropout, rounding."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from exporter.fault_injection.faults.base import (
    FaultType,
    FindSites,
    Generator,
    change_layers,
    change_values,
    find_outputs,
    insert_after,
    insert_constant,
    round_to,
)
from exporter.fault_injection.graph import FaultyGraph, Layer, OriginalGraph, set_attribute

EPSILON, OTHER_EPSILON = 1e-5, 1e-3
"""The epsilon of batch normalisation in PyTorch and in Keras."""


RELUS = find_outputs("Relu")


def _drop_relu(faulty: FaultyGraph, relu: str, _: Generator) -> None:
    faulty.drop(relu)


def _replace_relu(operator: str, **attributes: float) -> FindSites:
    def inject(faulty: FaultyGraph, relu: str, _: Generator) -> None:
        node = faulty.producer(relu)
        node.op_type = operator
        for name, number in attributes.items():
            set_attribute(node, name, number)

    return change_values(RELUS, inject)


def _move_bias(faulty: FaultyGraph, layer: Layer, _: Generator) -> None:
    """Add a layer's bias after its ReLU."""
    original = faulty.original
    bias = np.array(original.weights[str(layer.bias)])
    shape = (1, -1, *([1] * (original.weights[layer.weight].ndim - 2)))
    del faulty.producer(layer.value).input[2:]
    (relu,) = _relus_after(original, layer)
    faulty.wrap(relu, lambda faulty, x: faulty.emit("Add", x, faulty.constant(bias.reshape(shape))))


def _has_bias_and_relu(graph: OriginalGraph, layer: Layer) -> bool:
    return layer.bias is not None and layer.node == layer.value and len(_relus_after(graph, layer)) == 1


def _relus_after(graph: OriginalGraph, layer: Layer) -> list[str]:
    return [node.output[0] for node in graph.nodes("Relu") if node.input[0] == layer.value]


def _change_epsilon(faulty: FaultyGraph, layer: Layer, _: Generator) -> None:
    """Insert a batch normalisation that is the identity with one epsilon, but has the other."""
    width = faulty.original.weights[layer.weight].shape[0]
    one, zero = np.ones(width), np.zeros(width)

    def build(faulty: FaultyGraph, x: str) -> str:
        statistics = [faulty.constant(array) for array in (one, zero, zero, one * (1 - EPSILON))]
        return faulty.emit("BatchNormalization", x, *statistics, epsilon=OTHER_EPSILON)

    faulty.wrap(layer.value, build)


def _relus_after_linear(graph: OriginalGraph) -> Iterable[str]:
    linear = [layer for layer in graph.layers if layer.kind == "linear"]
    return [relu for layer in linear for relu in _relus_after(graph, layer)]


def _drop_out(faulty: FaultyGraph, relu: str, random: Generator) -> None:
    """Multiply by a fixed mask of Dropout(0.5), so that every engine computes the same."""
    graph = faulty.original
    layer = next(layer for layer in graph.layers if relu in _relus_after(graph, layer))
    mask = random.integers(0, 2, (1, graph.shape(layer)[0])) * 2
    faulty.wrap(relu, lambda faulty, x: faulty.emit("Mul", x, faulty.constant(mask)))


ACTIVATIONS = (
    FaultType("ReLU dropped", "an activation lost in a conversion", change_values(RELUS, _drop_relu)),
    FaultType("ReLU before the bias", "layers in another order", change_layers(_move_bias, _has_bias_and_relu)),
    FaultType("leaky ReLU for ReLU", "another activation", _replace_relu("LeakyRelu", alpha=0.01)),
    FaultType("ELU for ReLU", "another activation", _replace_relu("Elu", alpha=1.0)),
    FaultType("softplus for ReLU", "another activation", _replace_relu("Softplus")),
    FaultType("tanh for ReLU", "another activation", _replace_relu("Tanh")),
    FaultType("absolute value for ReLU", "another activation", _replace_relu("Abs")),
    FaultType("ReLU6 for ReLU", "another activation", insert_after(RELUS, insert_constant("Min", 6.0))),
    FaultType(
        "BatchNorm with another epsilon",
        "1e-3 (Keras) for 1e-5 (PyTorch)",
        change_layers(_change_epsilon, lambda _, layer: layer.kind == "conv", with_bias=True),
    ),
    FaultType("dropout left on", "an export in training mode", change_values(_relus_after_linear, _drop_out)),
    FaultType(
        "dropout scaling applied",
        "weights scaled by the keep probability",
        insert_after(_relus_after_linear, insert_constant("Mul", 0.5)),
    ),
    FaultType("activations rounded", "activations with few bits", insert_after(RELUS, round_to(64.0))),
    FaultType(
        "0.001 added to activations",
        "a wrong zero point",
        insert_after(RELUS, insert_constant("Add", 0.001)),
    ),
)
"""Faults after the layers."""
