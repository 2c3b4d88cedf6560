"""What every pass is, and how a list of them is applied to a model.

A pass rewrites an `onnx_ir.Model` in place and reports accurately whether it did. It keeps the function,
the names, dtypes and shapes of the graph's inputs and outputs, and the opset: what it inserts must be valid at the
model's own. What it does not understand it leaves alone, subgraphs of If, Loop and Scan among it.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnx_ir as ir

from exporter.passes.shapes import infer_shapes
from exporter.types import OptimizeOptions
from models.progress import Progress, no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

ONNX = ("", "ai.onnx")
"""The two names of the standard operators' domain."""


@dataclass(frozen=True)
class Decision:
    """What a pass did with one node, or why it did nothing: a row of `--explain`.

    Attributes:
        node: its name.
        operator: its operator.
        choice: what became of it, in a word or two.
        why: the reason, in a sentence.
        predicted_ms: how long the chosen form should take.
        measured_ms: how long it took here, in milliseconds.
        error: the largest that it adds, relative to the largest value: of a layer's outputs where the operators are
            others now, of its weights where these are.
        replaces: what an earlier pass said of the node is no longer so.
    """

    node: str
    operator: str
    action: str
    reason: str
    predicted_ms: float | None = None
    measured_ms: float | None = None
    error: float | None = None
    replaces: bool = False

    def __str__(self) -> str:
        """Return `conv2 (Conv): winograd, measured 68.1 ms`."""
        times = (("predicted", self.predicted_ms), ("measured", self.measured_ms))
        reported = [f"{what} {time:.3g} ms" for what, time in times if time is not None]
        return ", ".join((f"{self.node} ({self.operator}): {self.action}", *reported))


class GraphPass(ir.passes.InPlacePass):
    """A pass: a name, the condition under which it applies, the reason, and one method that rewrites.

    Attributes:
        name: what manifests and `--explain` call it.
        condition: when it applies, one sentence.
        reason: why it pays, one sentence.
        preparatory: it only makes the graph readable for later passes; alone it is no reason to write another file.
        decisions: of the last call, in the order of the graph.
    """

    name: ClassVar[str]
    condition: ClassVar[str]
    reason: ClassVar[str]
    preparatory: ClassVar[bool] = False

    def __init__(self) -> None:
        self.decisions: list[Decision] = []

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite `model`; `modified` tells whether anything changed."""
        self.decisions.clear()
        return ir.passes.PassResult(model, self.rewrite(model))

    @abc.abstractmethod
    def rewrite(self, model: ir.Model) -> bool:
        """Rewrite `model` in place, fill `decisions`, and return whether anything changed.

        Shapes are inferred before it runs (`exporter.passes.shapes`).
        """

    def decide(self, node: ir.Node, action: str, reason: str, error: float | None = None) -> None:
        """Record what became of `node`."""
        self.decisions.append(Decision(display_name(node), node.op_type, action, reason, error=error))


@dataclass(frozen=True)
class PassesResult:
    """What a list of passes did to a model.

    Attributes:
        modified: something changed that is worth another file.
        changed: names of the passes that changed something, preparatory ones among them.
        decisions: of all passes.
    """

    modified: bool
    changed: tuple[str, ...]
    decisions: tuple[Decision, ...]


def run_passes(model: ir.Model, passes: Sequence[GraphPass], progress: Progress = no_progress) -> PassesResult:
    """Run `passes` over `model` in order, in place.

    Shapes are inferred before the first and again after every change, so that each pass finds them.
    """
    changed: list[str] = []
    decisions: list[Decision] = []
    modified = False
    stale = True
    for step in passes:
        progress(f"pass {step.name}")
        if stale:
            infer_shapes(model)
        stale = step(model).modified
        replaced = {(row.node, row.operator) for row in step.decisions if row.replaces}
        decisions = [row for row in decisions if (row.node, row.operator) not in replaced] + step.decisions
        if stale:
            changed.append(step.name)
            modified = modified or not step.preparatory
    return PassesResult(modified, tuple(changed), tuple(decisions))


def manifest_options(options: OptimizeOptions, applied: PassesResult) -> dict[str, str | bool | list[str]]:
    """Return what a manifest keeps of how a graph was rewritten: passes, wishes, and every choice with its times."""
    kept: dict[str, str | bool | list[str]] = {
        "target": options.target,
        "passes": list(applied.changed),
        "decisions": [str(decision) for decision in applied.decisions],
    }
    if options.target == "cpu":
        kept |= {"autotune": options.autotune, "optimize_for": options.optimize_for}
    return kept if options.weight_dtype == "fp32" else {**kept, "weight_dtype": options.weight_dtype}


def relative_error(made: NDArray[Any], exact: NDArray[Any]) -> float:
    """Return the largest difference of two arrays, relative to the largest of `exact`."""
    scale = float(np.abs(exact).max(initial=0))
    return float(np.abs(made - exact).max(initial=0)) / scale if scale else 0.0


def display_name(node: ir.Node) -> str:
    """Return a node's name for people: its own, or its first output's."""
    return node.name or next((str(value.name) for value in node.outputs if value.name), node.op_type)


def nodes_of(model: ir.Model, *operators: str) -> list[ir.Node]:
    """Return the main graph's standard nodes of these operators, as a list that rewriting does not disturb."""
    return [node for node in model.graph if node.op_type in operators and node.domain in ONNX]


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """Return a value's tensor where it is fixed: an initialiser that is no input, or the output of a Constant.

    An initialiser that is an input too is only a default, which the caller may replace.
    """
    if value is None or value.is_graph_input():
        return None
    return ir.convenience.get_const_tensor(value)


def single_consumer(value: ir.Value) -> ir.Node | None:
    """Return the single node that reads `value` once, if nothing else does and it is no output of the graph.

    A reader inside a subgraph runs only when that does, so it is none.
    """
    uses, maker = list(value.uses()), value.producer()
    if len(uses) != 1 or value.is_graph_output() or (maker is not None and uses[0].node.graph is not maker.graph):
        return None
    return uses[0].node


def following_relu_and_pool(conv: ir.Node) -> tuple[ir.Node | None, ir.Node | None]:
    """Return the ReLU and the MaxPool directly after a convolution, in either order, each None where there is none."""
    found: dict[str, ir.Node] = {}
    node = conv
    while (following := single_consumer(node.outputs[0])) is not None:
        if following.op_type not in ("Relu", "MaxPool") or following.domain not in ONNX or following.op_type in found:
            break
        if len([value for value in following.outputs if value.name]) != 1:
            break
        found[following.op_type] = node = following
    return found.get("Relu"), found.get("MaxPool")


def fresh_name(model: ir.Model, wanted: str) -> str:
    """Return `wanted`, or `wanted.2`, `wanted.3`, … where the graph has that already."""
    taken = names_in(model)
    number, name = 1, wanted
    while name in taken:
        number += 1
        name = f"{wanted}.{number}"
    return name


def names_in(model: ir.Model) -> set[str]:
    """Return every name of a value or node, subgraphs included: what a new one must not be called."""
    names = {str(value.name) for value in (*model.graph.inputs, *model.graph.initializers.values())}
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        names.add(str(node.name))
        names.update(str(value.name) for value in node.outputs)
    for graph in model.graphs():
        names.update(str(value.name) for value in (*graph.inputs, *graph.initializers.values()))
    return names


def add_initializer(model: ir.Model, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    """Register a tensor as an initialiser under `name`, or the nearest free one, and return its value."""
    name = fresh_name(model, name)
    if isinstance(tensor, ir.Tensor):
        tensor.name = name
    value = ir.Value(
        name=name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    model.graph.register_initializer(value)
    return value


def remove_unused_initializers(model: ir.Model, values: Iterable[ir.Value | None]) -> None:
    """Remove those of `values` that are initialisers nothing reads any more."""
    for value in values:
        if value is None or value.uses() or value.is_graph_output() or value.is_graph_input():
            continue
        if model.graph.initializers.get(str(value.name)) is value:
            del model.graph.initializers[str(value.name)]


def opset_of(model: ir.Model) -> int:
    """Return the version of the standard operators that the model imports."""
    return next((model.graph.opset_imports[name] for name in ONNX if name in model.graph.opset_imports), 0)
