"""Computes convolutions, matrix products and what reads their results in float16; inputs and outputs stay float32.

*Given* float32 nodes. *Result* the same nodes on float16 weights and values, with a Cast where a value enters or leaves
float16. Which operators change is what PyTorch's autocast does: convolutions and matrix products do, operators whose
results span a wide range (Softmax, Exp, norms, sums) stay in float32, and the others compute in the type of their
inputs. A node stays in float32 where float16 cannot hold its weights or, as measured on calibration clips, its inputs
or outputs. *Source*: https://docs.pytorch.org/docs/stable/amp.html (op reference); IEEE 754 binary16.

onnxruntime.transformers.float16 does not serve here: a value between two nodes that it keeps in float32 passes through
float16, where it overflows; weights beyond the range become 65504 without a word, and those below 5.96e-8 become
5.96e-8; it renames values, and onnx's checker rejects the order of its nodes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx
import onnx_ir as ir

from exporter.onnx_io.dtypes import FLOAT16_MAX
from exporter.onnx_io.subgraphs import LAYER_OPERATORS, SHAPE_OPERATORS, STANDARD_DOMAINS
from exporter.passes.base import GraphPass
from exporter.passes.graph import add_initializer, constant, get_opset, used_names

MIN_NORMAL = 2.0**-14
"""The smallest float16 number with 11 significant bits."""
HEADROOM = 2.0
"""Values must stay below `FLOAT16_MAX` by this factor on the calibration clips: on other clips they may be larger."""

FOLLOWERS = frozenset(
    """Abs Add AveragePool Ceil Celu Clip Concat DepthToSpace Div Dropout Elu Erf Expand Flatten Floor Gather
    GatherElements GatherND Gelu GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish Identity LeakyRelu Max MaxPool
    Mean Min Mish Mul Neg PRelu Pad Relu Reshape Resize Selu Sigmoid Sign Slice Softsign SpaceToDepth Split Squeeze Sub
    Sum Tanh ThresholdedRelu Tile Transpose Unsqueeze Where""".split()  # noqa: SIM905 - a list has a line for each
)
"""Operators that compute in float16 where every float32 input that is not constant comes from a float16 node."""

KEPT = "left in float32"
"""The action of a node that could compute in float16 and does not."""


@dataclass(frozen=True)
class _Slots:
    """The positions of a node's inputs and outputs that have the type of its first float32 input."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Float16(GraphPass):
    """Convolutions and matrix products compute in float16."""

    name = "float16"
    condition = "A Conv, ConvTranspose, Gemm or MatMul whose weights and measured values float16 can hold."
    reason = "GPUs multiply float16 on tensor cores, and weights and values take half the memory."

    def __init__(self, ranges: Mapping[str, float] = MappingProxyType({}), raised: Collection[str] = ()) -> None:
        """Set the pass up.

        Args:
            ranges: {value: its largest magnitude on the calibration clips}; a value that is missing is taken to fit.
            raised: the names of nodes that stay in float32 for accuracy.
        """
        super().__init__()
        self.ranges, self.raised = ranges, frozenset(raised)

    @property
    def layers(self) -> list[str]:
        """The names of the layers that the last call put into float16, in the order of the graph."""
        return [row.node for row in self.decisions if not row.unchanged]

    @property
    def out_of_range(self) -> list[str]:
        """`node: why` of each node that the last call left in float32 because float16 cannot hold its numbers."""
        return [f"{row.node}: {row.reason}" for row in self.decisions if row.unchanged and row.node not in self.raised]

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        planned, half = self._plan(model)
        if not planned:
            return False
        for value in half:
            value.type = ir.TensorType(ir.DataType.FLOAT16)
        casts = _Casts(model, set(half))
        for node, slots in planned.items():
            for index in slots.inputs:
                if (value := node.inputs[index]) is not None:
                    node.replace_input_with(index, casts.to_float16(value))
        casts.remove_unused()
        for value in half:
            casts.restore(value, planned)
        return True

    def _plan(self, model: ir.Model) -> tuple[dict[ir.Node, _Slots], list[ir.Value]]:
        """Return the nodes that change, and the values that become float16, in the order of the graph."""
        planned: dict[ir.Node, _Slots] = {}
        half: dict[ir.Value, None] = {}  # ordered, unlike a set
        opset = get_opset(model)
        for node in model.graph:
            if node.domain not in STANDARD_DOMAINS or node.op_type not in LAYER_OPERATORS | FOLLOWERS:
                continue
            slots = _find_slots(node, opset)
            if slots is None:
                continue
            inputs = [value for index in slots.inputs if (value := node.inputs[index]) is not None]
            outputs = [node.outputs[index] for index in slots.outputs]
            if node.op_type in FOLLOWERS and not _follows(inputs, half):
                continue
            reason = self._refuse(node, inputs, outputs)
            if reason is not None:
                self.decide(node, KEPT, reason)
                continue
            planned[node] = slots
            half |= dict.fromkeys(outputs)
            if node.op_type in LAYER_OPERATORS:
                self.decide(node, "float16", "its weights and values are within float16's range")
        return planned, list(half)

    def _refuse(self, node: ir.Node, inputs: Iterable[ir.Value], outputs: Iterable[ir.Value]) -> str | None:
        """Return why a node must stay in float32, or None."""
        if node.name in self.raised:
            return "for accuracy"
        for what, values in (("input", inputs), ("output", outputs)):
            for value in values:
                tensor = constant(value)
                if tensor is not None:
                    fault = _check_range(float(np.abs(tensor.numpy()).max(initial=0.0)), FLOAT16_MAX)
                    subject, where = f"its constant {value.name}", ""
                else:
                    fault = _check_range(self.ranges.get(str(value.name), 0.0), FLOAT16_MAX / HEADROOM)
                    subject, where = f"its {what} {value.name}", " on the calibration clips"
                if fault is not None:
                    return f"{subject} {fault[0]}{where}; {fault[1]}"
        return None


def _check_range(largest: float, limit: float) -> tuple[str, str] | None:
    """Return how large the numbers are and why float16 does not hold them, or None; 0 is all zeros, or not measured."""
    if not largest <= limit:
        return f"reaches {largest:.3g}", f"float16 ends at {FLOAT16_MAX:g}"
    if 0 < largest < MIN_NORMAL:
        return f"reaches only {largest:.3g}", f"below {MIN_NORMAL:.3g} float16 loses bits"
    return None


def _find_slots(node: ir.Node, opset: int) -> _Slots | None:
    """Return the slots of a node that have the type of its first float32 input; None where they cannot be float16.

    By the operator's definition: inputs and outputs with the same type parameter have the same type. Others, such as
    the scales of a Resize, keep theirs.
    """
    if not onnx.defs.has(node.op_type, max_inclusive_version=opset, domain=""):
        return None
    schema = onnx.defs.get_schema(node.op_type, opset, "")

    def parameter(formal: list[onnx.defs.OpSchema.FormalParameter], index: int) -> str:
        return formal[min(index, len(formal) - 1)].type_str

    floats = [index for index, value in enumerate(node.inputs) if _is_float32(value)]
    if not floats:
        return None
    wanted = parameter(list(schema.inputs), floats[0])
    allowed = next((item.allowed_type_strs for item in schema.type_constraints if item.type_param_str == wanted), ())
    if "tensor(float16)" not in allowed:
        return None
    return _Slots(
        tuple(index for index in floats if parameter(list(schema.inputs), index) == wanted),
        tuple(
            index
            for index, value in enumerate(node.outputs)
            if _is_float32(value) and parameter(list(schema.outputs), index) == wanted
        ),
    )


def _takes_float16(node: ir.Node, index: int, planned: Mapping[ir.Node, _Slots]) -> bool:
    """Return whether a node reads a value in float16: it computes in it, or reads no more than the shape."""
    if node in planned:
        return index in planned[node].inputs
    return node.op_type in SHAPE_OPERATORS and node.domain in STANDARD_DOMAINS


def _is_float32(value: ir.Value | None) -> bool:
    return value is not None and value.dtype == ir.DataType.FLOAT


def _follows(inputs: Iterable[ir.Value], half: Collection[ir.Value]) -> bool:
    """Return whether all inputs that are not constant are float16, and there is one."""
    variable = [value for value in inputs if constant(value) is None]
    return bool(variable) and all(value in half for value in variable)


class _Casts:
    """The values of a graph in the other type, each made once.

    Args:
        model: the model.
        half: its values that are float16 already.
    """

    def __init__(self, model: ir.Model, half: Collection[ir.Value]) -> None:
        self._model, self._half = model, half
        self._new_name = used_names(model).new
        self._made: dict[ir.Value, ir.Value] = {}

    def to_float16(self, value: ir.Value) -> ir.Value:
        """Return a value in float16: itself, its constant rounded, or a Cast of it."""
        if value in self._half:
            return value
        if value not in self._made:
            tensor = constant(value)
            self._made[value] = self._cast(value, "float16") if tensor is None else self._round(value, tensor)
        return self._made[value]

    def remove_unused(self) -> None:
        """Remove the float32 constants that only float16 nodes read; the rounded ones take their names."""
        initializers = self._model.graph.initializers
        for value, rounded in self._made.items():
            if value.uses() or value.is_graph_output() or initializers.get(str(value.name)) is not value:
                continue
            name = str(value.name)
            del initializers[name]
            del initializers[str(rounded.name)]
            rounded.name = name
            initializers[name] = rounded

    def restore(self, value: ir.Value, planned: Mapping[ir.Node, _Slots]) -> None:
        """Let the graph's outputs and all nodes that stay in float32 read a float16 value through one Cast."""
        outputs = [index for index, output in enumerate(self._model.graph.outputs) if output is value]
        others = [use for use in value.uses() if not _takes_float16(use.node, use.idx, planned)]
        if not outputs and not others:
            return
        name = None
        if outputs:  # the output keeps its name
            name = str(value.name)
            value.name = self._new_name(f"{name}.float16")
        cast = self._cast(value, "float32", name)
        for use in others:
            use.node.replace_input_with(use.idx, cast)
        for index in outputs:
            self._model.graph.outputs[index] = cast

    def _round(self, value: ir.Value, tensor: ir.TensorProtocol) -> ir.Value:
        rounded = ir.tensor(np.asarray(tensor.numpy()).astype(np.float16))
        return add_initializer(self._model, f"{value.name}.float16", rounded)

    def _cast(self, value: ir.Value, dtype: str, output: str | None = None) -> ir.Value:
        to = ir.DataType.FLOAT16 if dtype == "float16" else ir.DataType.FLOAT
        name = self._new_name(f"{output or value.name}.{dtype}")
        node = ir.Node("", "Cast", [value], [ir.AttrInt64("to", to.value)], num_outputs=1, name=name)
        (cast,) = node.outputs
        cast.name, cast.shape, cast.type = output or name, value.shape, ir.TensorType(to)
        producer = value.producer()
        if producer is None or producer.graph is not self._model.graph:
            self._model.graph.insert_before(self._model.graph[0], node)
        else:
            self._model.graph.insert_after(producer, node)
        return cast
