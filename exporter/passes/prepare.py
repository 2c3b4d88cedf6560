"""What is done before the passes that rewrite: the graph becomes one that they can read.

These passes change what others must keep: sizes that the user fixes, the opset, and inputs that are weights. None of
them is by itself a reason to write another file.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from exporter.errors import UsageError, join_limited
from exporter.onnx_io.opset import min_ir_version, raise_opset
from exporter.passes.base import PASSES_OPSET, GraphPass
from exporter.passes.decisions import RAISE_OPSET, UNCHANGED, Decision
from exporter.passes.graph import find_nodes, get_opset, infer_shapes

PLAIN_INITIALIZERS_IR = 4
"""The first ONNX IR version that can hold an initialiser that is not an input too."""
MANY = 3
"""Weights that a reason lists by name, at most."""


class FixSizes(GraphPass):
    """The sizes that the user gives replace free ones, in the inputs and in all that depends on them.

    The first axis of an input stays as it is: it is the batch, and no pass needs to know it.
    """

    name = "fix-sizes"
    condition = "--shape gives sizes for dynamic axes."
    reason = "Winograd and others need to know how large an input is; it is no faster by itself."
    preparatory = True

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Set the pass up with {input: sizes with the batch}."""
        super().__init__()
        self.shapes = shapes

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`.

        Raises:
            UsageError: no such input, another rank, a size that the model fixes otherwise, or two sizes of one name.
        """
        named = self._sizes_by_name(model)
        modified = False
        for value in (*model.graph.inputs, *model.graph.outputs):
            given = self.shapes.get(str(value.name), ()) if value in model.graph.inputs else ()
            modified = _fix(value, named, given) or modified
        if not modified:
            return False
        computed = [value for node in model.graph for value in node.outputs if not value.is_graph_output()]
        for value in computed:
            value.shape = None  # they are inferred again from the inputs
        _infer_outputs(model)
        return True

    def _sizes_by_name(self, model: ir.Model) -> dict[str, int]:
        inputs = {str(value.name): value for value in model.graph.inputs}
        named: dict[str, int] = {}
        for name, sizes in self.shapes.items():
            if name not in inputs and name.partition("[")[0] in inputs:
                continue  # an item of a sequence: the verification's inputs, not the graph's
            shape = inputs[name].shape if name in inputs else None
            given = f"--shape {name}={'x'.join(map(str, sizes))}"
            if name not in inputs:
                raise UsageError(f"{given}: no such input; there are {', '.join(inputs)}")
            if shape is None or len(shape) != len(sizes):
                rank = "an unknown number of" if shape is None else len(shape)
                raise UsageError(f"{given}: the input has {rank} axes")
            for axis, (old, size) in enumerate(zip(shape, sizes, strict=True)):
                if isinstance(old, int) and old != size:
                    raise UsageError(f"{given}: its axis {axis} is {old} in the model")
                free = None if isinstance(old, int) or axis == 0 else old.value
                if free is not None and named.setdefault(free, size) != size:
                    raise UsageError(f"{given}: the model calls sizes {named[free]} and {size} both {free!r}")
        return named


class ConstantInitializers(GraphPass):
    """Initialisers that are listed as inputs too become constants, unless they may be meant as inputs."""

    name = "constant-initializers"
    condition = (
        "An initialiser of a model of IR version 3 that is an input too: that version requires it of each weight."
    )
    reason = (
        "Passes rewrite constants only; a newer model lists an initialiser as an input for the caller to replace it."
    )
    preparatory = True

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        both = [value for value in model.graph.inputs if value.name in model.graph.initializers]
        if not both:
            return False
        listed = join_limited((str(value.name) for value in both), MANY)
        if model.ir_version >= PLAIN_INITIALIZERS_IR:
            reason = f"{len(both)} of its weights are inputs too, which the caller may replace"
            remedy = "export with keep_initializers_as_inputs=False, or remove them from the inputs"
            self.decisions.append(Decision(listed, "input", UNCHANGED, reason, remedy=remedy))
            return False
        for value in both:
            model.graph.inputs.remove(value)
        model.ir_version = max(PLAIN_INITIALIZERS_IR, min_ir_version(get_opset(model)))
        reason = "IR version 3 lists every weight as an input; onnxruntime takes them as constants"
        self.decisions.append(Decision(listed, "input", "constant", reason))
        return True


class RaiseOpset(GraphPass):
    """A model of an opset before 13 is converted to 13."""

    name = RAISE_OPSET
    condition = (
        f"The model's opset is older than {PASSES_OPSET}, and onnx's converter has an adapter for its operators."
    )
    reason = "What passes write has other inputs and attributes before; it is no faster by itself."
    preparatory = True

    def rewrite(self, model: ir.Model) -> bool:
        """See `GraphPass`."""
        opset = get_opset(model)
        if not 0 < opset < PASSES_OPSET:
            return False
        for node in find_nodes(model, "Pad"):  # a value that the mode does not use, which onnx's converter leaves there
            if node.attributes.get_string("mode", "constant") != "constant":
                node.attributes.pop("value", None)
        why = raise_opset(model, PASSES_OPSET)
        if why is None:
            self.decisions.append(
                Decision(f"opset {opset}", "model", f"opset {PASSES_OPSET}", "passes need its operators")
            )
            return True
        remedy = f"export with opset {PASSES_OPSET} or newer"
        reason = f"it cannot be converted to opset {PASSES_OPSET}: {why}"
        self.decisions.append(Decision(f"opset {opset}", "model", UNCHANGED, reason, remedy=remedy))
        return False


def _fix(value: ir.Value, named: Mapping[str, int], given: tuple[int, ...]) -> bool:
    """Replace the dynamic sizes of an input or output; return whether there were any.

    Args:
        value: the input or output.
        named: sizes by the name that the model has for them.
        given: the user's sizes of this input; () where there are none.
    """
    if value.shape is None:
        return False
    sizes: list[int | ir.SymbolicDim] = []
    for axis, old in enumerate(value.shape):
        name = None if isinstance(old, int) else old.value
        if isinstance(old, int):
            sizes.append(old)
        elif name is not None and name in named:
            sizes.append(named[name])
        else:
            sizes.append(given[axis] if given and axis > 0 and name is None else old)
    modified = sizes != list(value.shape)
    if modified:
        value.shape = ir.Shape(sizes)
    return modified


def _infer_outputs(model: ir.Model) -> None:
    """Infer the shapes of the graph's outputs anew, where they are still free."""
    outputs = list(model.graph.outputs)
    declared = [value.shape for value in outputs]
    infer_shapes(model, outputs=True)
    for value, shape in zip(outputs, declared, strict=True):
        inferred = value.shape
        if shape is None or inferred is None or len(shape) != len(inferred):
            value.shape = shape
            continue
        # a name stays where nothing better is known, and a name of the model before one of shape inference
        value.shape = ir.Shape([new if isinstance(new, int) else old for old, new in zip(shape, inferred, strict=True)])
