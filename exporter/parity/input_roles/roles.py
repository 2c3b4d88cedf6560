"""Which inputs of a model file have a meaning of their own, and what they are fed.

`table.ROLES` says for (operator, position of an input) how a valid value follows from the shapes around it.
An input of the graph that feeds such a position has that role; where it feeds several, it gets the value of the first
node, in the order of the graph, for which one can be derived.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import EncodeError
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.external_data_helper import uses_external_data

from exporter.isolation.worker import reads_file
from exporter.onnx_io.attributes import get_attributes
from exporter.onnx_io.dtypes import dtype_name
from exporter.onnx_io.file_graph import own_tensors
from exporter.onnx_io.inference import infer_shapes
from exporter.onnx_io.load import load_without_weights
from exporter.onnx_io.signature import free_size
from exporter.onnx_io.subgraphs import STANDARD_DOMAINS, captured_values
from exporter.parity.input_roles.image_sizes import find_image_sizes
from exporter.parity.input_roles.input_use import InputUse, RoleValue
from exporter.parity.input_roles.table import ROLES
from exporter.parity.input_types import is_float
from exporter.types import FormatName, ValueRange
from models.specs import TensorSpec

Shape = tuple[int | str, ...]

SAME_NUMBERS = {"Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"}
"""Operators whose output has the numbers of their first input."""
INDIRECT = {(name, 1) for name in ("Gather", "GatherElements", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")}
"""Positions of indices. Their range does not depend on their own shape, so that an input that reaches one through
operators of `SAME_NUMBERS` has the role, too."""
CALCULATIONS = {"Add", "Sub", "Mul", "Max", "Min", "Sum", "Abs", "Neg", "Sign", "Clip", "Concat", "Where", "Relu"}
COMPARISONS = {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
WIDE_INTEGERS = {getattr(onnx.TensorProto, name) for name in ("INT16", "INT32", "INT64", "UINT16", "UINT32", "UINT64")}
MAX_SHOWN = 8
"""Larger values are described by their shape."""


@dataclass(frozen=True)
class DerivedValue:
    """What an input with a role is fed.

    Attributes:
        operator: the operator that it feeds.
        value: the array of every feed, or the numbers to draw from.
    """

    operator: str
    value: NDArray[Any] | ValueRange

    @property
    def is_array(self) -> bool:
        """Whether every feed has the same value."""
        return not isinstance(self.value, ValueRange)

    def __str__(self) -> str:
        """Return `[3, 4], for Reshape`, or `integers 1..9, for Div`."""
        if isinstance(self.value, ValueRange):
            return f"{'integers' if isinstance(self.value.low, int) else 'numbers'} {self.value}, for {self.operator}"
        if self.value.size > MAX_SHOWN:
            return f"{'x'.join(map(str, self.value.shape))} derived numbers, for {self.operator}"
        return f"{self.value.tolist()}, for {self.operator}"


@dataclass(frozen=True)
class InputRoles:
    """The inputs of a graph that have a role.

    Attributes:
        uses: {input: the nodes and positions with a role that it feeds}, in the order of the graph.
        shapes: {value: its shape}, as declared or inferred; a string is a dynamic size.
        constants: {value: array} of the small constants.
        arithmetic: the integer inputs that are only calculated with, compared and moved.
    """

    uses: Mapping[str, tuple[tuple[onnx.NodeProto, int], ...]] = field(
        default_factory=dict[str, "tuple[tuple[onnx.NodeProto, int], ...]"]
    )
    shapes: Mapping[str, Shape] = field(default_factory=dict[str, Shape])
    constants: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    arithmetic: frozenset[str] = frozenset()

    def derive(
        self, inputs: Iterable[TensorSpec], shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, NDArray[Any]]
    ) -> dict[str, DerivedValue]:
        """Return {input: what it is fed}, for the inputs with a role whose value follows from what is known.

        Args:
            inputs: those that nothing is given for.
            shapes: {input: shape}, without dynamic sizes.
            given: {input: its value}, for those that the user gives.
        """
        sizes: dict[int | str, int] = {}
        for name, shape in shapes.items():
            sizes |= dict(zip(self.shapes.get(name, ()), shape, strict=False))
        sizes.pop("?", None)
        known = {name: filled for name, shape in self.shapes.items() if (filled := _fill(shape, sizes)) is not None}
        known |= shapes
        constants = {**self.constants, **given}
        derived: dict[str, DerivedValue] = {}
        for spec in inputs:
            for node, position in self.uses.get(spec.name, ()):
                count = prod(shapes[spec.name]) if _is_fixed(spec) else None
                use = InputUse(node, position, spec.dtype, count, known, constants)
                value = _typed(ROLES[node.op_type, position](use), spec, shapes[spec.name])
                if value is not None:
                    derived[spec.name] = DerivedValue(node.op_type, value)
                    break
        return derived


@dataclass(frozen=True)
class _Graph:
    """A graph, of which shapes are inferred only if they are needed."""

    model: onnx.ModelProto

    @cached_property
    def inputs(self) -> frozenset[str]:
        weights = {tensor.name for tensor in self.model.graph.initializer}
        return frozenset(value.name for value in self.model.graph.input) - weights

    @cached_property
    def uses(self) -> dict[str, tuple[tuple[onnx.NodeProto, int], ...]]:
        found: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
        for node in self.model.graph.node:
            for position, name in enumerate(node.input):
                if name in self.inputs and node.domain in STANDARD_DOMAINS and (node.op_type, position) in ROLES:
                    found.setdefault(name, []).append((node, position))
        for name in self.inputs:
            for value in self._moved(name):
                for node, position in self._consumers.get(value, ()):
                    if (node.op_type, position) in INDIRECT:
                        found.setdefault(name, []).append((node, position))
        for name, node in find_image_sizes(self.model.graph, self.inputs - {*found}).items():
            found[name] = [(node, 1)]
        return {name: tuple(nodes) for name, nodes in found.items()}

    @cached_property
    def _consumers(self) -> dict[str, list[tuple[onnx.NodeProto, int]]]:
        found: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
        for node in self.model.graph.node:
            for position, name in enumerate(node.input):
                found.setdefault(name, []).append((node, position))
            for name in captured_values(node):
                found.setdefault(name, []).append((node, len(node.input)))
        return found

    def _moved(self, name: str) -> list[str]:
        """Return the values that hold the same numbers as another one, in another shape or integer type."""
        found: list[str] = []
        for node, position in self._consumers.get(name, ()):
            if node.op_type in SAME_NUMBERS and position == 0:
                found += [node.output[0], *self._moved(node.output[0])]
        return found

    @cached_property
    def arithmetic(self) -> frozenset[str]:
        """See `InputRoles`."""
        integers = [
            value.name
            for value in self.model.graph.input
            if value.name in self.inputs and value.type.tensor_type.elem_type in WIDE_INTEGERS
        ]
        return frozenset(name for name in integers if self._consumers.get(name) and self._is_calculated(name))

    def _is_calculated(self, name: str) -> bool:
        for node, position in self._consumers.get(name, ()):
            if node.domain not in STANDARD_DOMAINS:
                return False
            if node.op_type == "Cast" and get_attributes(node).get("to") not in WIDE_INTEGERS:
                continue
            if node.op_type in COMPARISONS:
                continue
            followed = node.op_type in CALCULATIONS or (node.op_type in SAME_NUMBERS and position == 0)
            if not followed or not self._is_calculated(node.output[0]):
                return False
        return True

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        graph = self.model.graph
        try:
            inferred = infer_shapes(self.model).graph.value_info
        except (RuntimeError, ValueError, EncodeError):  # an invalid model, or one of 2 GiB
            inferred = graph.value_info
        shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        for value in (*graph.input, *inferred, *graph.output):
            if value.type.tensor_type.HasField("shape"):
                shapes[value.name] = tuple(
                    free_size(dim.dim_value if dim.HasField("dim_value") else dim.dim_param)
                    for dim in value.type.tensor_type.shape.dim
                )
        return shapes

    @cached_property
    def constants(self) -> dict[str, NDArray[Any]]:
        return {
            name: numpy_helper.to_array(tensor)
            for name, tensor in own_tensors(self.model.graph).items()
            if not uses_external_data(tensor) and dtype_name(tensor.data_type) != "string"
        }


@reads_file("the analysis of its inputs")
def find_roles(path: Path, format_name: FormatName) -> InputRoles:
    """Return the inputs of a model file that have a role; of files in other formats than ONNX none is known.

    Raises:
        ArtifactError: it cannot be read.
    """
    if format_name != "onnx":
        return InputRoles()
    graph = _Graph(load_without_weights(path))
    if not graph.uses:
        return InputRoles(arithmetic=graph.arithmetic)
    return InputRoles(graph.uses, graph.shapes, graph.constants, graph.arithmetic)


def _fill(shape: Shape, sizes: Mapping[int | str, int]) -> tuple[int, ...] | None:
    filled = [0 if size == "0" else size if isinstance(size, int) else sizes.get(size) for size in shape]
    return None if None in filled else tuple(size for size in filled if size is not None)


def _typed(value: RoleValue, spec: TensorSpec, shape: tuple[int, ...]) -> NDArray[Any] | ValueRange | None:
    """Return a value in the dtype and rank of its input; None where it does not fit."""
    if value is None or isinstance(value, ValueRange):
        return value
    array = np.asarray(value, np.float32 if is_float(spec.dtype) else np.int64)
    if _is_fixed(spec):
        return array.reshape(shape) if array.size == prod(shape) else None
    return array if array.ndim == len(shape) else None


def _is_fixed(spec: TensorSpec) -> bool:
    return all(isinstance(size, int) or size == "0" for size in spec.shape)
