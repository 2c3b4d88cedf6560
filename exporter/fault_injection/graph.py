"""An ONNX graph without its weights, which are in a file beside it, and copies of it to inject faults into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from exporter.formats.onnx_preprocess.nodes import CLIP_VALUE
from exporter.onnx_io.dtypes import FLOAT_TYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """A convolution or a linear layer whose weight is a constant of the graph.

    Attributes:
        name: the layer's name, for reports: its weight's without `.weight`.
        kind: a convolution or a linear layer.
        weight: the initializer that holds the weight.
        bias: the initializer that holds the bias; None for a layer without one.
        value: the value that the layer computes, bias included.
        node: the output of the node that has the weight: `value`, or what the bias is added to.
        transposed: whether the weight is stored as (in, out).
    """

    name: str
    kind: Literal["conv", "linear"]
    weight: str
    bias: str | None
    value: str
    node: str
    transposed: bool


@dataclass(frozen=True)
class OriginalGraph:
    """The graph that every faulty copy starts from.

    Attributes:
        model: the graph; its large weights are in a file of `folder`. It is never changed.
        folder: the folder that faulty copies are written to, so that they share the weights.
        weights: {initializer: array}, read-only.
        layers: the convolutions and linear layers, in the order computed.
        clip_shape: shape of the clip that preprocessing in the graph makes; None for a dynamic size, empty without it.
    """

    model: onnx.ModelProto
    folder: Path
    weights: Mapping[str, NDArray[Any]]
    layers: tuple[Layer, ...]
    clip_shape: tuple[int | None, ...] = ()

    @property
    def input_name(self) -> str:
        """The first input."""
        return next(value.name for value in self.model.graph.input if value.name not in self.weights)

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """The first input's shape with the batch; None for a dynamic size."""
        (value,) = [value for value in self.model.graph.input if value.name == self.input_name]
        return get_shape(value)

    @property
    def clip(self) -> tuple[str, tuple[int | None, ...]]:
        """What the network itself takes, and its shape: the first input, or what preprocessing makes of it."""
        return (CLIP_VALUE, self.clip_shape) if self.clip_shape else (self.input_name, self.input_shape)

    @property
    def values(self) -> tuple[str, ...]:
        """Every value that a node computes, in the order computed."""
        return tuple(name for node in self.model.graph.node for name in node.output if name)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The model's outputs."""
        return tuple(value.name for value in self.model.graph.output)

    @property
    def float_outputs(self) -> tuple[str, ...]:
        """The outputs that hold floating-point numbers."""
        outputs = self.model.graph.output
        return tuple(value.name for value in outputs if value.type.tensor_type.elem_type in FLOAT_TYPES)

    def nodes(self, *operators: str) -> tuple[onnx.NodeProto, ...]:
        """Return the nodes of some operators, in the order computed."""
        return tuple(node for node in self.model.graph.node if node.op_type in operators)

    def shape(self, layer: Layer) -> tuple[int, ...]:
        """Return the shape of a layer's weight, (out, in, …)."""
        shape = self.weights[layer.weight].shape
        return shape[::-1] if layer.transposed else shape


class FaultyGraph:
    """A copy of an original graph to inject a fault into. Weights are shared until they are set."""

    def __init__(self, original: OriginalGraph) -> None:
        self.original = original
        self.model = onnx.ModelProto()
        self.model.CopyFrom(original.model)
        self.changed: dict[str, NDArray[Any]] = {}
        self._new: list[onnx.NodeProto] = []
        self._count = 0

    @property
    def graph(self) -> onnx.GraphProto:
        """The graph to be changed."""
        return self.model.graph

    def weight(self, layer: Layer) -> Floats:
        """Return a layer's weight, (out, in, …), as a copy that may be changed."""
        stored = self.original.weights[layer.weight]
        return np.array(stored.T if layer.transposed else stored, order="C")

    def set_weight(self, layer: Layer, value: NDArray[Any]) -> None:
        """Replace a layer's weight, (out, in, …)."""
        self.set(layer.weight, value.T if layer.transposed else value)

    def set(self, name: str, value: NDArray[Any]) -> None:
        """Replace the values of an initializer.

        Raises:
            ValueError: the shape differs.
        """
        stored = self.original.weights[name]
        if value.shape != stored.shape:
            raise ValueError(f"{name} is {stored.shape}, not {value.shape}")
        self.changed[name] = np.ascontiguousarray(value, stored.dtype)

    def constant(self, value: Any, dtype: type[np.generic] = np.float32) -> str:
        """Add a constant, and return its name."""
        self._count += 1
        name = f"injected.{self._count}"
        self.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def producer(self, value: str) -> onnx.NodeProto:
        """Return the node that computes a value."""
        return next(node for node in self.graph.node if value in node.output)

    def emit(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node inside `wrap` or `feed`, and return its value."""
        self._count += 1
        name = f"injected.{self._count}"
        self._new.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def wrap(self, value: str, build: Callable[[FaultyGraph, str], str]) -> None:
        """Insert nodes after a value; all consumers read the new result, under the same name.

        Args:
            value: a computed value or an input, which keeps its own name.
            build: (this copy, the old value) -> the new value, made by `emit`.
        """
        inputs = {value.name for value in self.graph.input}
        before = value if value in inputs else f"{value}.before"
        self._new = []
        last = build(self, before)
        if value in inputs:
            for node in self.graph.node:
                node.input[:] = [last if name == value else name for name in node.input]
            index = 0
        else:
            producer = self.producer(value)
            producer.output[:] = [before if name == value else name for name in producer.output]
            for node in self._new:
                node.output[:] = [value if name == last else name for name in node.output]
            index = list(self.graph.node).index(producer) + 1
        self._insert(index)

    def feed(self, node: onnx.NodeProto, build: Callable[[FaultyGraph, str], str]) -> None:
        """Insert nodes before a node's first input, for this node only."""
        self._new = []
        node.input[0] = build(self, node.input[0])
        self._insert(list(self.graph.node).index(node))

    def drop(self, value: str) -> None:
        """Remove a node of one input: its consumers read that input."""
        node = self.producer(value)
        if value in self.original.outputs:
            node.op_type = "Identity"
            del node.attribute[:], node.input[1:]
            return
        source = node.input[0]
        for consumer in self.graph.node:
            consumer.input[:] = [source if name == value else name for name in consumer.input]
        self.graph.node.remove(node)

    def write(self, name: str = "faulty.onnx") -> Path:
        """Write this copy into the original's folder and return its path; only changed weights are inside the file."""
        for tensor in self.graph.initializer:
            if tensor.name in self.changed:
                tensor.CopyFrom(numpy_helper.from_array(self.changed[tensor.name], tensor.name))
        path = self.original.folder / name
        path.write_bytes(self.model.SerializeToString())
        return path

    def _insert(self, index: int) -> None:
        for offset, node in enumerate(self._new):
            self.graph.node.insert(index + offset, node)
        self._new = []


def get_shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """Return a value's shape; None for a dynamic size."""
    return tuple(size.dim_value if size.HasField("dim_value") else None for size in value.type.tensor_type.shape.dim)


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    """Set an attribute of a node."""
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])
