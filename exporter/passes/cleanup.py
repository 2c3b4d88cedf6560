"""Housekeeping: what computes nothing goes, so that later passes see the operators that do.

*Given* a graph as exporters leave it: constants as nodes, Identity and Dropout of inference, arithmetic on constants,
nodes and weights that no output needs. *Result*: the same function without them. *Algebra*: Dropout without training is
the identity (ONNX Dropout-13), an operator of constants is a constant. *Source*: the passes of onnx-ir and onnxscript,
which do the work; this module states what they guarantee. A model with subgraphs is left as it is.
"""

import onnx_ir as ir
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    IdentityEliminationPass,
    LiftConstantsToInitializersPass,
    RemoveUnusedFunctionsPass,
    RemoveUnusedNodesPass,
)

from exporter.foreign_logging import suppress_foreign_logging
from exporter.passes.base import GraphPass, constant, nodes_of
from exporter.passes.shapes import as_stated

MAX_FOLDED_BYTES = 4096
"""Elements of a constant that folding may read or write: it is for shape arithmetic, and a file must not grow by it."""
_NOTES = "pkg.onnxscript"
"""What onnxscript's passes write beside the values they made."""


class LiftConstants(GraphPass):
    """Constant nodes become initialisers."""

    name = "lift-constants"
    condition = "A Constant node of the graph whose value is no output."
    reason = "Later passes and readers find every constant in one place; it is no faster."
    preparatory = True

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        if has_subgraphs(model):
            return False
        return LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model).modified


class FoldConstants(GraphPass):
    """Arithmetic on constants and known shapes is done now."""

    name = "fold-constants"
    condition = "A node whose inputs are constants or known sizes, of at most 4096 numbers."
    reason = "Chains of Shape, Gather and Concat before a Reshape hide the shapes that other passes need."

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        from onnxscript.optimizer import fold_constants

        if has_subgraphs(model):
            return False
        with suppress_foreign_logging(), as_stated(model):
            folded = fold_constants(
                model, onnx_shape_inference=True, input_size_limit=MAX_FOLDED_BYTES, output_size_limit=MAX_FOLDED_BYTES
            )
        if folded.modified:  # it writes Constant nodes of lists, which opsets before 12 do not have
            LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        for value in every_value(model):
            for key in [key for key in value.metadata_props if key.startswith(_NOTES)]:
                del value.metadata_props[key]
        return bool(folded.modified)


class RemoveNoOps(GraphPass):
    """Identity and Dropout go."""

    name = "remove-no-ops"
    condition = "An Identity, or a Dropout that is not in training mode and whose mask nothing reads."
    reason = "Each costs a copy or hides the operator before it from fusion."

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        if has_subgraphs(model):
            return False
        dropped = [node for node in nodes_of(model, "Dropout") if self._idle(model, node)]
        for node in dropped:
            identity = ir.Node("", "Identity", [node.inputs[0]], num_outputs=1, name=node.name)
            node.graph.insert_before(node, identity)  # pyright: ignore[reportOptionalMemberAccess] - it is in one
            ir.convenience.replace_all_uses_with(node.outputs[0], identity.outputs[0], replace_graph_outputs=True)
            identity.outputs[0].name = node.outputs[0].name
            identity.outputs[0].shape, identity.outputs[0].type = node.outputs[0].shape, node.outputs[0].type
            model.graph.remove(node, safe=True)
        before = len(list(model.graph.all_nodes()))
        IdentityEliminationPass()(model)
        return bool(dropped) or len(list(model.graph.all_nodes())) != before

    def _idle(self, model: ir.Model, node: ir.Node) -> bool:
        """Return whether a Dropout is the identity: by its attribute up to opset 11, by its third input later."""
        if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
            self.decide(node, "left", "its mask is read")
            return False
        if "is_test" in node.attributes:
            return False  # opset 1 to 6
        if len(node.inputs) < 3 or node.inputs[2] is None:
            return True
        training = constant(node.inputs[2])
        if training is None or bool(training.numpy()):
            self.decide(node, "left", "it drops: training mode is on, or decided at run time")
            return False
        return True


class RemoveDeadCode(GraphPass):
    """What no output needs goes: nodes, initialisers, functions; what is computed twice is computed once."""

    name = "remove-dead-code"
    condition = "A node, initialiser or function that no output of the graph depends on, or a repeated computation."
    reason = "It takes space, and engines load it before they drop it."

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        if has_subgraphs(model):
            return False
        with suppress_foreign_logging():
            results = [
                step(model)
                for step in (CommonSubexpressionEliminationPass(), RemoveUnusedNodesPass(), RemoveUnusedFunctionsPass())
            ]
        return any(result.modified for result in results)


def has_subgraphs(model: ir.Model) -> bool:
    """Return whether a node holds graphs of its own (If, Loop, Scan), which the passes used here would reach into."""
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in kinds for node in model.graph for attribute in node.attributes.values())


def every_value(model: ir.Model) -> list[ir.Value]:
    """Return the main graph's inputs, initialisers and computed values."""
    computed = [value for node in model.graph for value in node.outputs]
    return [*model.graph.inputs, *model.graph.initializers.values(), *computed]
