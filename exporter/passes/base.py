"""The interface of a pass, and how a list of passes is run over a model.

A pass rewrites an `onnx_ir.Model` in place and reports accurately whether it did. It keeps the function, the names,
dtypes and shapes of the graph's inputs and outputs, and the opset: the nodes that it inserts must be valid at the
model's own. It does not change operators that it does not know, nor the subgraphs of If, Loop and Scan.
The passes of `exporter.passes.prepare` change sizes and opset, which is their purpose. A pass that fails is undone.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnx_ir as ir

from exporter.errors import UsageError
from exporter.isolation.worker import native_call
from exporter.memory_errors import is_out_of_memory
from exporter.onnx_io.check import find_fault
from exporter.onnx_io.load import cause_line
from exporter.passes.decisions import UNDONE, UNDONE_OPERATOR, Decision, Refusal
from exporter.passes.names import unused_name
from exporter.passes.shapes import infer_shapes
from exporter.types import OptimizeOptions
from models.progress import Progress, no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

ONNX = ("", "ai.onnx")
"""The two names of the standard operators' domain."""
PASSES_OPSET = 13
"""The first opset in which Slice, ReduceSum, Unsqueeze and others have the inputs that passes write."""


class GraphPass(ir.passes.InPlacePass):
    """A pass: a name, the condition under which it applies, the reason, and one method that rewrites.

    Attributes:
        name: its name in manifests and `--explain`.
        condition: when it applies, in one sentence.
        reason: what it improves, in one sentence.
        preparatory: it only simplifies the graph for later passes; by itself it is no reason to write another file.
        measures: it may measure variants on this machine, which takes long.
        enters_subgraphs: its implementation would also change If, Loop and Scan's graphs, so that a model with any is
            left unchanged.
        min_opset: a model of an older opset is left unchanged: it lacks operators that the pass writes.
        decisions: what the last call decided, in the order of the graph.
    """

    name: ClassVar[str]
    condition: ClassVar[str]
    reason: ClassVar[str]
    preparatory: ClassVar[bool] = False
    measures: ClassVar[bool] = False
    enters_subgraphs: ClassVar[bool] = False
    min_opset: ClassVar[int] = 0

    def __init__(self) -> None:
        self.decisions: list[Decision] = []

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model`; `modified` is whether anything changed."""
        self.decisions.clear()
        skip = (self.enters_subgraphs and len(list(model.graphs())) > 1) or get_opset(model) < self.min_opset
        return ir.passes.PassResult(model, not skip and self.rewrite(model))

    @abc.abstractmethod
    def rewrite(self, model: ir.Model) -> bool:
        """Rewrite `model` in place, fill `decisions`, and return whether anything changed.

        Shapes are inferred before it runs (`exporter.passes.shapes`).
        """

    def decide(self, node: ir.Node, action: str, reason: str, error: float | None = None) -> None:
        """Record what became of `node`."""
        remedy = reason.remedy if isinstance(reason, Refusal) else ""
        self.decisions.append(
            Decision(display_name(node), node.op_type, action, str(reason), error=error, remedy=remedy)
        )


class NodePass(GraphPass):
    """A pass that rewrites nodes of some standard operators one by one.

    Attributes:
        operators: the operators.
    """

    operators: ClassVar[tuple[str, ...]]

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        return sum(self.rewrite_node(model, node) for node in find_nodes(model, *self.operators)) > 0

    @abc.abstractmethod
    def rewrite_node(self, model: ir.Model, node: ir.Node) -> bool:
        """Rewrite what begins with `node`, record the decision, and return whether anything changed."""


@dataclass(frozen=True)
class PassesResult:
    """What a list of passes did to a model.

    Attributes:
        model: the rewritten model: the one given, unless a pass was undone.
        modified: whether a pass that is not only preparatory changed something.
        changed: the names of the passes that changed something, including preparatory ones.
        decisions: the decisions of all passes; a pass that was undone is one with the action `undone`.
        full_check: whether onnx's checker accepted the model's shapes before the passes.
    """

    model: ir.Model
    modified: bool
    changed: tuple[str, ...]
    decisions: tuple[Decision, ...]
    full_check: bool = True


def run_passes(
    model: ir.Model,
    passes: Sequence[GraphPass],
    progress: Progress = no_progress,
    opens: Callable[[ir.Model], str | None] | None = None,
) -> PassesResult:
    """Run `passes` over `model` in order, in place; one that raises or leaves an invalid model is undone.

    Shapes are inferred before the first and again after every change, so that each pass finds them. So often
    the graph is copied, without its weights, which copies share. A model that onnx's checker rejects only for its
    shapes before the passes is not checked for them afterwards.

    Args:
        model: the model; use the result's from then on.
        passes: in order.
        progress: called at each pass.
        opens: an engine's opinion of a changed model: the reason why it does not open it, or None.

    Raises:
        UsageError: an option of the user does not fit the model; no other error of a pass leaves it.
    """
    changed: list[str] = []
    decisions: list[Decision] = []
    modified = False
    stale = True
    full = find_fault(model) is None
    before = model
    for step in passes:
        progress(f"pass {step.name}")
        if stale:
            infer_shapes(model)
            before = model.clone()
        with native_call(f"pass {step.name}", seconds=math.inf if step.measures else None):
            stale, fault = _run_guarded(step, model, full, opens)
        if fault is not None:
            model = before
            decisions.append(Decision(step.name, UNDONE_OPERATOR, UNDONE, fault))
            continue
        replaced = {(row.node, row.operator) for row in step.decisions if row.replaces}
        decisions = [row for row in decisions if (row.node, row.operator) not in replaced] + step.decisions
        if stale:
            changed.append(step.name)
            modified = modified or not step.preparatory
    return PassesResult(model, modified, tuple(changed), tuple(decisions), full)


def _run_guarded(
    step: GraphPass, model: ir.Model, full: bool, opens: Callable[[ir.Model], str | None] | None
) -> tuple[bool, str | None]:
    """Run a pass; return whether it changed the model, and why the result cannot be used, or None."""
    outputs = [value.name for value in model.graph.outputs]
    try:
        modified = step(model).modified
    except UsageError:
        raise
    except Exception as error:  # whatever a pass or its library raises, the model before it is valid
        if is_out_of_memory(error):
            raise
        return True, f"it failed: {cause_line(error)}"
    if [value.name for value in model.graph.outputs] != outputs:
        return True, "it renamed an output of the graph"
    if not modified:
        return False, None
    fault = find_fault(model, full=full)
    if fault is not None:
        return True, f"onnx's checker rejects its result: {fault}"
    rejected = None if opens is None else opens(model)
    return True, None if rejected is None else f"onnxruntime does not open its result: {rejected}"


def manifest_options(options: OptimizeOptions, result: PassesResult) -> dict[str, str | bool | list[str]]:
    """Return what a manifest records about the rewriting: target, passes, options, decisions with their times."""
    recorded: dict[str, str | bool | list[str]] = {
        "target": options.target,
        "passes": list(result.changed),
        "decisions": [str(decision) for decision in result.decisions],
    }
    if options.target == "cpu":
        recorded |= {"autotune": options.autotune, "optimize_for": options.optimize_for}
    return recorded if options.weight_dtype == "fp32" else {**recorded, "weight_dtype": options.weight_dtype}


def relative_error(values: NDArray[Any], exact: NDArray[Any]) -> float:
    """Return the largest difference of two arrays, relative to the largest of `exact`."""
    scale = float(np.abs(exact).max(initial=0))
    return float(np.abs(values - exact).max(initial=0)) / scale if scale else 0.0


def display_name(node: ir.Node) -> str:
    """Return a node's name for messages: its own, or that of its first output."""
    return node.name or next((str(value.name) for value in node.outputs if value.name), node.op_type)


def find_nodes(model: ir.Model, *operators: str) -> list[ir.Node]:
    """Return the main graph's standard nodes of these operators; the graph can be changed while iterating over them."""
    return [node for node in model.graph if node.op_type in operators and node.domain in ONNX]


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """Return a value's tensor where it is constant: an initialiser that is no input, or the output of a Constant.

    An initialiser that is an input too is a default value, which the caller may replace.
    """
    if value is None or value.is_graph_input():
        return None
    return ir.convenience.get_const_tensor(value)


def read_array(value: ir.Value | None) -> NDArray[Any]:
    """Return the numbers of a constant, which may be mapped from a file."""
    tensor = constant(value)
    assert tensor is not None, f"{value} is not constant"
    return np.asarray(tensor.numpy())


def replace_value(old: ir.Value, new: ir.Value) -> None:
    """Let all that reads a value, and the graph's outputs, take another, which gets its name, shape and type.

    What computes the old value should be removed then.
    """
    name, shape, kind = old.name, old.shape, old.type
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    new.name, new.shape, new.type = name, shape, kind


def single_consumer(value: ir.Value) -> ir.Node | None:
    """Return the only node that reads `value`, or None if there are several uses or it is an output of the graph.

    A node inside a subgraph does not count: it runs only when the subgraph does.
    """
    uses, producer = list(value.uses()), value.producer()
    if len(uses) != 1 or value.is_graph_output() or (producer is not None and uses[0].node.graph is not producer.graph):
        return None
    return uses[0].node


def following_relu_and_pool(conv: ir.Node) -> tuple[ir.Node | None, ir.Node | None]:
    """Return the ReLU and the MaxPool directly after a convolution, in either order; None for one that is not there."""
    found: dict[str, ir.Node] = {}
    node = conv
    while (following := single_consumer(node.outputs[0])) is not None:
        if following.op_type not in ("Relu", "MaxPool") or following.domain not in ONNX or following.op_type in found:
            break
        if len([value for value in following.outputs if value.name]) != 1:
            break
        found[following.op_type] = node = following
    return found.get("Relu"), found.get("MaxPool")


def used_names(model: ir.Model) -> set[str]:
    """Return the names of all values and nodes, including those of subgraphs."""
    names = {str(value.name) for value in (*model.graph.inputs, *model.graph.initializers.values())}
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        names.add(str(node.name))
        names.update(str(value.name) for value in node.outputs)
    for graph in model.graphs():
        names.update(str(value.name) for value in (*graph.inputs, *graph.initializers.values()))
    return names


def add_initializer(model: ir.Model, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    """Register a tensor as an initialiser under `name`, numbered if that is used, and return its value."""
    name = unused_name(used_names(model), name)
    if isinstance(tensor, ir.Tensor):
        tensor.name = name
    value = ir.Value(
        name=name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    model.graph.register_initializer(value)
    return value


def replace_constant(model: ir.Model, node: ir.Node, index: int, **tensors: NDArray[Any]) -> list[ir.Value]:
    """Remove a constant input of a node, and register other constants under its name.

    Args:
        model: the model.
        node: the node, which then has no such input.
        index: of the input.
        **tensors: the constants, whose names end in `.scale` and so on; `values` has the name of the one removed.

    Returns:
        their values, in order.
    """
    old = node.inputs[index]
    assert old is not None
    node.replace_input_with(index, None)
    remove_unused_initializers(model, [old])
    names = (f"{old.name}.{key}" if key != "values" else str(old.name) for key in tensors)
    return [add_initializer(model, name, ir.tensor(array)) for name, array in zip(names, tensors.values(), strict=True)]


def remove_unused_initializers(model: ir.Model, values: Iterable[ir.Value | None]) -> None:
    """Remove those of `values` that are initialisers without a use."""
    for value in values:
        if value is None or value.uses() or value.is_graph_output() or value.is_graph_input():
            continue
        if model.graph.initializers.get(str(value.name)) is value:
            del model.graph.initializers[str(value.name)]


def get_opset(model: ir.Model) -> int:
    """Return the version of the standard operators that the model imports."""
    return next((model.graph.opset_imports[name] for name in ONNX if name in model.graph.opset_imports), 0)
