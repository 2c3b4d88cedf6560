"""What computes a node: a kernel of this package, onnx's reference evaluator, or onnxruntime.

In float64 a node is tried in this order, and the first that computes it is kept:

1. a kernel in `kernels`: fast, and checked against the operator's definition;
2. onnx's reference evaluator, in float64, unless it is known to be wrong or slow there (`DISTRUSTED`);
3. onnxruntime on a model of this node, in float64;
4. onnxruntime on a model of this node, in float32, and the node is reported as compared in float32 only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import torch

from exporter.engines.reference.kernels import CONTROL_FLOW, DISTRUSTED, KERNELS, SLOW
from exporter.engines.reference.kernels.convolution import conv
from exporter.engines.reference.kernels.levels import LEVEL_KERNELS, Limits
from exporter.engines.reference.kernels.types import Body, to_tensor
from exporter.engines.reference.moved_values import Moves
from exporter.engines.reference.node import Node, NodeValues, UnsupportedError
from exporter.engines.reference.single_node import (
    in_onnx,
    in_onnxruntime,
    onnxruntime_operators,
    with_float_dtype,
)
from exporter.memory_errors import is_out_of_memory
from exporter.onnx_io.windows import crops_under_same
from exporter.results import ReferencePrecision
from models.errors import first_line


def round_to_float16(value: Any) -> Any:
    """Return a value with each float32 number replaced by the nearest of float16, in float32.

    Ties go to the even number, numbers from 65520 become infinite, and those below 2^-14 are rounded to multiples of
    2^-24: IEEE 754 binary16, as a GPU's conversion does. Sequences are rounded item by item; what is no float32 stays.
    """
    if isinstance(value, list):
        return [round_to_float16(item) for item in value]
    if not isinstance(value, np.ndarray) or value.dtype != np.float32:
        return value
    return to_tensor(value).to(torch.float16).float().numpy()


CONV = ("", "Conv")
OWN_KERNEL = "own kernel"
IN_ONNX = "onnx's evaluator"
IN_FLOAT32 = "onnxruntime in float32"


class NodeError(Exception):
    """No implementation computes a node; the message names the node and why."""


@dataclass(frozen=True)
class Choice:
    """What may compute the nodes of a model.

    Attributes:
        dtype: what every floating-point value is in; None leaves the file's own dtypes.
        engines: whether onnxruntime may compute nodes, and kernels replace onnx's evaluator where it is only slow.
        float16_values: the names of values that are rounded to float16 once they are computed in `dtype`; of a
            convolution the sums are, too, before its bias is added.
        levels: compute quantised values without rounding, within these limits (`kernels.levels`); None rounds them.
        moves: move every value as its rounding may (`moved_values`); None keeps it.
    """

    dtype: ReferencePrecision | None
    engines: bool = True
    float16_values: frozenset[str] = frozenset()
    levels: Limits | None = None
    moves: Moves | None = None

    def cast(self, value: Any) -> Any:
        """Return a value as an array, or a list of them, with floating-point numbers in the dtype."""
        value = np.asarray(value) if isinstance(value, np.generic) else value
        return value if self.dtype is None else with_float_dtype(value, np.dtype(self.dtype))

    def store(self, name: str, value: Any) -> Any:
        """Return what a graph keeps of a value that a node has computed."""
        return round_to_float16(value) if name in self.float16_values else value


@dataclass
class Operator:
    """A node and its implementations.

    Attributes:
        node: the node.
        choice: what may compute it.
        bodies: {attribute: graph inside the node}.
        computed_by: what computed it last; None before it was run.
        crops: whether it is a convolution with SAME and steps longer than windows; False before it was run.
    """

    node: Node
    choice: Choice
    bodies: Mapping[str, Body]
    computed_by: str | None = None
    crops: bool = False
    _implementations: list[tuple[str, Callable[[NodeValues], Sequence[Any]]]] = field(
        default_factory=list[tuple[str, Callable[[NodeValues], Sequence[Any]]]]
    )

    @cached_property
    def step(self) -> bytes:
        """What the supervisor reports if it ends the process while the node is computed."""
        return self.node.label.encode("utf-8", "replace")

    def __post_init__(self) -> None:
        """List the implementations, best first.

        Raises:
            NodeError: no engine knows the operator.
        """
        key = self.node.key
        if key in CONTROL_FLOW:
            return
        if not self._is_known():
            raise NodeError(f"{self.node.label}: no evaluator knows this operator of domain {key[0] or 'ai.onnx'}")
        self._implementations = list(self._list_implementations())

    def run(self, inputs: NodeValues, scope: MutableMapping[str, Any]) -> list[Any]:
        """Return the node's outputs, floating-point ones in the graph's dtype.

        Args:
            inputs: the node's inputs; None where one is absent.
            scope: every value that graphs inside the node may read.

        Raises:
            NodeError: no implementation computes it.
            MemoryError: the machine has not enough memory for it.
        """
        reasons: list[str] = []
        if self.choice.moves is not None:
            inputs = self.choice.moves.inputs(self.node, inputs)
        if (control := CONTROL_FLOW.get(self.node.key)) is not None:
            return [self.choice.cast(value) for value in control(self.node, self.bodies, inputs, scope)]
        for number, (name, function) in enumerate(self._implementations):
            try:
                with np.errstate(all="ignore"):
                    outputs = function(inputs)
            except Exception as error:  # kernels and engines raise whatever their libraries do
                if is_out_of_memory(error):
                    raise MemoryError(str(error)) from error
                if not isinstance(error, UnsupportedError):
                    reasons.append(f"{name}: {first_line(error)}")
                continue
            del self._implementations[:number]
            self.computed_by = name
            windows = self.node.key in (CONV, ("", "ConvTranspose"))
            self.crops = windows and crops_under_same(self.node.attributes, inputs[1].shape[2:])
            found = [self.choice.cast(value) for value in outputs]
            return found if self.choice.moves is None else self.choice.moves.outputs(self.node, found)
        raise NodeError(f"{self.node.label}: {reasons[-1] if reasons else 'no evaluator covers this form of it'}")

    @property
    def in_float32(self) -> bool:
        """Whether it was computed in float32 although the graph is evaluated in float64."""
        return self.choice.dtype == "float64" and self.computed_by == IN_FLOAT32

    def _is_known(self) -> bool:
        domain, name = key = self.node.key
        if key in KERNELS or onnx.defs.has(name, domain):
            return True
        return self.choice.engines and key in onnxruntime_operators()

    def _list_implementations(self) -> Iterator[tuple[str, Callable[[NodeValues], Sequence[Any]]]]:
        domain, name = key = self.node.key
        if self.choice.levels is not None and key in LEVEL_KERNELS:
            yield OWN_KERNEL, self._run_unrounded
            return
        onnx_knows = onnx.defs.has(name, domain)
        if key == CONV and self.node.proto.output[0] in self.choice.float16_values:
            yield OWN_KERNEL, self._run_with_rounded_sums
        if key in KERNELS and (self.choice.engines or key in DISTRUSTED):
            yield OWN_KERNEL, self._run_kernel
        trusted = not (key in DISTRUSTED and DISTRUSTED[key](self.node))
        if onnx_knows and ((trusted and key not in SLOW) or not self.choice.engines):
            yield IN_ONNX, in_onnx(self.node)
        if self.choice.engines:
            if self.choice.dtype != "float32":
                yield "onnxruntime in float64", in_onnxruntime(self.node, "float64")
            if onnx_knows and trusted and key in SLOW:
                yield IN_ONNX, in_onnx(self.node)
            yield IN_FLOAT32, in_onnxruntime(self.node, "float32")
            if onnx_knows and not trusted:
                yield IN_ONNX, in_onnx(self.node)

    def _run_unrounded(self, inputs: NodeValues) -> Sequence[Any]:
        outputs = LEVEL_KERNELS[self.node.key](self.choice.levels, self.node, *inputs)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def _run_with_rounded_sums(self, inputs: NodeValues) -> Sequence[Any]:
        x, weight, *biases = inputs
        sums = round_to_float16(conv(self.node, x, weight))
        if biases and biases[0] is not None:
            sums = sums + biases[0].reshape(-1, *[1] * (sums.ndim - 2))
        return [sums]

    def _run_kernel(self, inputs: NodeValues) -> Sequence[Any]:
        outputs = KERNELS[self.node.key](self.node, *inputs)
        return outputs if isinstance(outputs, tuple) else (outputs,)
