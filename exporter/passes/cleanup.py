"""Removes operators without effect, so that later passes find the operators that they look for side by side.

*Given* a graph as exporters write it: constants as nodes, Identity and Dropout without effect, arithmetic on constants,
nodes and weights that no output needs. *Result*: the same function without them. *Algebra*: Dropout without training is
the identity (ONNX Dropout-13), an operator of constants is a constant. *Source*: the passes of onnx-ir and onnxscript,
which do the work. A model with subgraphs is left unchanged.
"""

import contextlib
from collections.abc import Generator

import onnx_ir as ir
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    LiftConstantsToInitializersPass,
    RemoveUnusedFunctionsPass,
    RemoveUnusedNodesPass,
)

from exporter.foreign_logging import suppress_foreign_logging
from exporter.isolation.worker import native_call
from exporter.onnx_io.ceil_pools import explicit_ceil_pools
from exporter.passes.base import GraphPass
from exporter.passes.builder import is_made_by_pass
from exporter.passes.graph import constant, find_nodes, preserve_signature

MAX_FOLDED_BYTES = 4096
"""Largest constant that folding reads or writes: it is for shape arithmetic, and must not make the file larger."""
_METADATA_PREFIX = "pkg.onnxscript"
"""Prefix of the metadata that onnxscript's passes add to values."""


class LiftConstants(GraphPass):
    """Constant nodes become initialisers."""

    name = "lift-constants"
    enters_subgraphs = True
    condition = "A Constant node of the graph whose value is no output."
    reason = "Later passes and readers find every constant in one place; it is no faster."
    preparatory = True

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        return LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model).modified


class FoldConstants(GraphPass):
    """Arithmetic on constants and known shapes is computed in advance."""

    name = "fold-constants"
    enters_subgraphs = True
    condition = (
        "A node whose inputs are constants or known sizes, of at most 4096 numbers; not one that transforms the "
        "trained weights of a rewritten convolution."
    )
    reason = "Chains of Shape, Gather and Concat before a Reshape hide the shapes that other passes need."

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        from onnxscript.optimizer import fold_constants

        resolved = _resolve_cast_like(model)
        if resolved is None:
            return False
        with (
            suppress_foreign_logging(),
            preserve_signature(model),
            explicit_ceil_pools(model),
            native_call("onnxscript's constant folding"),
        ):
            folded = fold_constants(
                model,
                onnx_shape_inference=True,
                input_size_limit=MAX_FOLDED_BYTES,
                output_size_limit=MAX_FOLDED_BYTES,
                should_fold=lambda node: False if is_made_by_pass(node) else None,
            )
        if folded.modified:  # it writes Constant nodes of lists, which opsets before 12 do not have
            LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        computed = [value for node in model.graph for value in node.outputs]
        for value in (*model.graph.inputs, *model.graph.initializers.values(), *computed):
            for key in [key for key in value.metadata_props if key.startswith(_METADATA_PREFIX)]:
                del value.metadata_props[key]
        return bool(resolved or folded.modified)


def _resolve_cast_like(model: ir.Model) -> int | None:
    """Turn each CastLike with attributes into a Cast; onnxscript's folding makes one that has lost them.

    Returns:
        how many there were; None where the type of one is not known, and the model must not be folded.
    """
    found = [node for node in model.graph.all_nodes() if node.op_type == "CastLike" and node.attributes]
    types = [like.dtype if (like := node.inputs[1]) is not None else None for node in found]
    if None in types:
        return None
    for node, dtype in zip(found, types, strict=True):
        node.op_type = "Cast"
        node.resize_inputs(1)
        node.attributes.add(ir.AttrInt64("to", int(dtype or 0)))
    return len(found)


class RemoveNoOps(GraphPass):
    """Identity, Dropout and a Pad of nothing are removed."""

    name = "remove-no-ops"
    enters_subgraphs = True
    condition = (
        "An Identity, a Dropout that is not in training mode and whose mask nothing reads, or a Pad by a constant 0."
    )
    reason = "Each costs a copy or hides the operator before it from fusion."

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        dropped = [node for node in find_nodes(model, "Dropout") if self._is_identity(node)]
        dropped += [node for node in find_nodes(model, "Pad") if _pads_nothing(node)]
        for node in dropped:
            node.op_type = "Identity"
            node.attributes.clear()
            node.resize_inputs(1)
            node.resize_outputs(1)
        removed = [_remove_identity(node) for node in find_nodes(model, "Identity")]
        return bool(dropped) or any(removed)

    def _is_identity(self, node: ir.Node) -> bool:
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


def _remove_identity(node: ir.Node) -> bool:
    """Remove an Identity, and return whether it was; one between two names of the graph's signature has to stay.

    onnx_ir's pass gives both outputs one name where it copies an output to another.
    """
    source, result = node.inputs[0], node.outputs[0]
    if source is None:
        return False
    renamed = result.is_graph_output()
    if renamed and (source.is_graph_output() or source.is_graph_input() or source.is_initializer()):
        return False
    source.shape, source.type = source.shape or result.shape, source.type or result.type
    ir.convenience.replace_all_uses_with(result, source, replace_graph_outputs=True)
    name = result.name
    node.graph.remove(node, safe=True)  # pyright: ignore[reportOptionalMemberAccess] - it is in one
    if renamed:
        source.name = name
    return True


def _pads_nothing(node: ir.Node) -> bool:
    """Return whether a Pad adds and removes nothing: by an attribute up to opset 10, by its second input later."""
    if len(node.inputs) > 1:
        amounts = constant(node.inputs[1])
        return amounts is not None and not amounts.numpy().any()
    listed = node.attributes.get_ints("pads") or node.attributes.get_ints("paddings")
    return listed is not None and not any(listed)


class RemoveDeadCode(GraphPass):
    """Unused nodes, initialisers and functions are removed; equal computations are merged."""

    name = "remove-dead-code"
    enters_subgraphs = True
    condition = "A node, initialiser or function that no output of the graph depends on, or a repeated computation."
    reason = "It takes space, and engines load it before they remove it."

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        outputs = _count_outputs(model)
        with suppress_foreign_logging(), _keep_needed_indices(model):
            results = [
                step(model)
                for step in (CommonSubexpressionEliminationPass(), RemoveUnusedNodesPass(), RemoveUnusedFunctionsPass())
            ]
        return any(result.modified for result in results) or _count_outputs(model) != outputs


def _count_outputs(model: ir.Model) -> int:
    """Return the number of values that nodes compute; onnx_ir's passes do not report the removal of an optional one."""
    return sum(bool(value.name) for node in model.graph.all_nodes() for value in node.outputs)


@contextlib.contextmanager
def _keep_needed_indices(model: ir.Model) -> Generator[None]:
    """Keep the indices that a MaxPool also returns, where onnxruntime refuses the node without them.

    With SAME, and strides longer than its windows, padding can be negative, which its pool without indices refuses.
    """
    kept = [(node, node.outputs[1]) for node in find_nodes(model, "MaxPool") if _needs_indices(node)]
    named = [(node, value, value.name) for node, value in kept]
    yield
    for node, value, name in named:
        if node.graph is not None and len(node.outputs) == 1:
            node.resize_outputs(2)
            node.outputs[1].name, node.outputs[1].type, node.outputs[1].shape = name, value.type, value.shape


def _needs_indices(node: ir.Node) -> bool:
    kernel = node.attributes.get_ints("kernel_shape", ())
    return (
        len(node.outputs) > 1
        and bool(node.outputs[1].name)
        and node.attributes.get_string("auto_pad", "NOTSET").startswith("SAME")
        and any(stride > size for stride, size in zip(node.attributes.get_ints("strides", ()), kernel, strict=False))
    )
