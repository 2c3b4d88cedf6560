"""The interface of a pass, and how a list of passes is run over a model.

A pass rewrites an `onnx_ir.Model` in place and reports accurately whether it did. It keeps the function, the names,
dtypes and shapes of the graph's inputs and outputs, and the opset: the nodes that it inserts must be valid at the
model's own. It does not change operators that it does not know, nor the subgraphs of If, Loop and Scan.
The passes of `exporter.passes.prepare` change sizes and opset, which is their purpose. A pass that fails is undone.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import onnx_ir as ir

from exporter.errors import UsageError
from exporter.isolation.worker import native_call
from exporter.memory_errors import is_out_of_memory
from exporter.onnx_io.load import cause_line
from exporter.onnx_io.onnx_passes import find_fault
from exporter.passes.decisions import UNDONE, UNDONE_OPERATOR, Decision, Refusal
from exporter.passes.graph import display_name, find_nodes, get_opset, infer_shapes, remember_names
from exporter.types import OptimizeOptions
from models.progress import Progress, no_progress

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
        with remember_names(model):
            return ir.passes.PassResult(model, not skip and self.rewrite(model))

    @abc.abstractmethod
    def rewrite(self, model: ir.Model) -> bool:
        """Rewrite `model` in place, fill `decisions`, and return whether anything changed.

        Shapes are inferred before it runs (`exporter.passes.graph`).
        """

    def decide(self, node: ir.Node, action: str, reason: str, error: float | None = None, **known: Any) -> None:
        """Record what became of `node`; `known` are further fields of its `Decision`, such as times."""
        remedy = reason.remedy if isinstance(reason, Refusal) else ""
        name, operator = display_name(node), node.op_type
        self.decisions.append(Decision(name, operator, action, str(reason), error=error, remedy=remedy, **known))


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
