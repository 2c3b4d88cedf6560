"""A graph that grows node by node, with the values of two batch sizes beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

BATCHES = 2, 3
"""The batch sizes that values are known for; a size that differs between them is dynamic."""
MAX_ELEMENTS, MAX_MAGNITUDE = 60_000, 1e3
Array = NDArray[Any]
Samples = tuple[Array, Array]


class NotApplicableError(Exception):
    """An operator does not fit the graph so far, or onnxruntime refuses it."""


class RandomGraph:
    """Nodes, weights and values of a model under construction.

    Attributes:
        rng: decides everything.
        opset: the opset that nodes are written for.
        nodes: in order.
        weights: {initialiser: its numbers}.
        values: {name: what it is at both batch sizes}, inputs too.
        constants: the values that depend on no input.
        dtype: of the floating-point values that nodes are added to, and of weights.
    """

    def __init__(self, rng: np.random.Generator, opset: int) -> None:
        self.rng, self.opset, self.dtype = rng, opset, "float32"
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}
        self.values: dict[str, Samples] = {}
        self.constants: set[str] = set()
        self._pending: list[onnx.NodeProto] = []
        self._count = 0

    def name(self, prefix: str) -> str:
        """Return a name that is not used yet."""
        self._count += 1
        return f"{prefix}{self._count}"

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return bool(self.rng.random() < probability)

    def pick(self, options: Any) -> Any:
        """Return one of some options."""
        return options[int(self.rng.integers(len(options)))]

    def number(self, low: int, high: int) -> int:
        """Return an integer from low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def value(self, suits: Callable[[Array], bool] = lambda _: True, dtype: str | None = None) -> str:
        """Return a computed value or input of a dtype (`self.dtype` by default) that suits and has axes, rather a late one.

        Raises:
            NotApplicableError: there is none.
        """
        found = [
            name
            for name, (sample, _) in self.values.items()
            if name not in self.constants and sample.dtype == (dtype or self.dtype) and sample.ndim and suits(sample)
        ]
        if not found:
            raise NotApplicableError("no value suits")
        odds = np.linspace(0.2, 1, len(found)) ** 4
        return found[int(self.rng.choice(len(found), p=odds / odds.sum()))]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a value at the first batch size."""
        return self.values[name][0].shape

    def op(self, operator: str, inputs: list[str], outputs: int = 1, /, **attributes: Any) -> str:
        """Add a node to those that `commit` runs, and return its first output."""
        names = [self.name(operator[:4].lower()) for _ in range(outputs)]
        node = helper.make_node(
            operator, inputs, names, name=self.name("node") if self.chance(0.7) else "", **attributes
        )
        self._pending.append(node)
        return names[0]

    def newest_outputs(self) -> list[str]:
        """Return the outputs of the node that was added last."""
        return list(self._pending[-1].output)

    def weight(self, array: Array, *, plain: bool = False) -> str:
        """Add a weight, or find one of the same shape, and return the name of a value of it.

        It is an initialiser, the output of a Constant, or computed from one by Identity, Cast or arithmetic.
        """
        array = np.asarray(array, order="C")
        if array.dtype == np.float32:
            array = array.astype(self.dtype)
        if array.dtype == self.dtype and self.chance(0.15):
            same = [
                name for name, held in self.weights.items() if (held.shape, held.dtype) == (array.shape, array.dtype)
            ]
            if same:
                return self.pick(same)
        way = 0.0 if plain or array.dtype != self.dtype else self.rng.random()
        if way > 0.93 and self.dtype == "float32":
            return self.op("Cast", [self.initializer(array.astype(np.float16))], to=TensorProto.FLOAT)
        if way > 0.88:
            return self.op("Mul", [self.initializer(array * 2), self.initializer(np.array([0.5], self.dtype))])
        name = self.constant(array) if 0.7 < way < 0.83 else self.initializer(array)
        return self.op("Identity", [name]) if way > 0.83 else name

    def constant(self, array: Array) -> str:
        """Add a Constant node and return its output."""
        tensor = numpy_helper.from_array(np.asarray(array, order="C"))
        return self.op("Constant", [], value=tensor)

    def integers(self, *numbers: int) -> str:
        """Return a value of int64 numbers: an initialiser or a Constant."""
        array = np.array(numbers, np.int64)
        return self.constant(array) if self.chance(0.3) else self.initializer(array)

    def initializer(self, array: Array) -> str:
        """Add an initialiser of exactly this dtype and return its name."""
        name = self.name("w")
        self.weights[name] = array
        return name

    def commit(self) -> None:
        """Run the new nodes at both batch sizes, and keep them and their values.

        Raises:
            NotApplicableError: onnxruntime refuses them, or their values are not finite, too large or too many; they
                are left out.
        """
        nodes, self._pending = self._pending, []
        try:
            samples = [self._run(nodes, number) for number in range(len(BATCHES))]
        except Exception as error:
            self._forget(nodes)
            raise NotApplicableError(str(error)) from error
        self.nodes += nodes
        constant = {*self.weights, *self.constants}
        for node in nodes:
            if set(filter(None, node.input)) <= constant:
                constant |= {*node.output}
                self.constants |= {*node.output}
        for name in samples[0]:
            self.values[name] = samples[0][name], samples[1][name]

    def drop(self) -> None:
        """Forget the nodes that were added since the last `commit`."""
        nodes, self._pending = self._pending, []
        self._forget(nodes)

    def _forget(self, nodes: list[onnx.NodeProto]) -> None:
        for name in read_names(nodes) - read_names(self.nodes):
            self.weights.pop(name, None)

    def _run(self, nodes: list[onnx.NodeProto], number: int) -> dict[str, Array]:
        made = [name for node in nodes for name in node.output if name]
        needed = read_names(nodes) - {*made}
        feeds = {name: self.values[name][number] for name in sorted(needed) if name in self.values}
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in feeds.items()
        ]
        weights = {name: self.weights[name] for name in sorted(needed) if name in self.weights}
        outputs = [onnx.ValueInfoProto(name=name) for name in made]
        model = assemble(nodes, inputs, outputs, weights, self.opset)
        found = dict(zip(made, run(model, feeds), strict=True))
        for array in found.values():
            if not isinstance(array, np.ndarray) or array.size > MAX_ELEMENTS or array.size == 0:
                raise ValueError("too many elements, or none")
            if array.dtype.kind == "f" and not np.abs(array.astype(np.float64)).max() < MAX_MAGNITUDE:
                raise ValueError("too large, or not finite")
        return found


def read_names(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """Return every name that nodes or the branches inside them read."""
    names = {name for node in nodes for name in node.input}
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                names |= {name for inner in attribute.g.node for name in inner.input}
    return names


def assemble(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: dict[str, Array],
    opset: int,
    ir_version: int = 8,
) -> onnx.ModelProto:
    """Return a model; below IR version 4 its weights are inputs too."""
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    if ir_version < 4:
        inputs = [
            *inputs,
            *(helper.make_tensor_value_info(held.name, held.data_type, held.dims) for held in tensors),
        ]
    made = helper.make_graph(nodes, "random", inputs, outputs, tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def run(model: onnx.ModelProto, feeds: dict[str, Array], *, optimized: bool = False) -> list[Any]:
    """Return the outputs of a model in onnxruntime, without graph optimisations or with its usual ones."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))
